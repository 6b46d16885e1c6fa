//! Drives real `aeterna` processes and breaks them, while clients work and everything that they are answered is
//! written down; then judges the history.
//!
//! `cargo xtask chaos` starts it, with a database, an object store and a network of its own.

mod check;
mod clients;
mod faults;
mod figures;
mod history;
mod http;
mod judge;
mod network;
mod node;
mod observer;
mod plot;
mod random;
mod remotes;
mod report;
mod run;
mod servers;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use faults::Kind;

/// Breaks a cluster of real nodes, and judges what its clients saw.
#[derive(Parser)]
#[command(name = "aeterna-chaos", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a cluster for a while and break it all along
    Run(Box<Options>),
    /// Judge a history again
    Check {
        /// The history of a run
        history: PathBuf,
        /// Nodes that held a shard in it
        #[arg(long, default_value_t = 1)]
        replicas: u32,
    },
}

/// How a run goes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What everything that is left to chance follows from
    #[arg(long)]
    seed: u64,
    /// Minutes for which something is broken; start, end and checks come on top
    #[arg(long)]
    minutes: f64,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=20))]
    nodes: u8,
    /// Nodes that hold a shard
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3))]
    replicas: u32,
    /// Break only this, of all that can be broken
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// The program `aeterna`
    #[arg(long)]
    program: PathBuf,
    /// Folder of the run: logs, history, disks
    #[arg(long)]
    folder: PathBuf,
    /// Where the report goes; its plot goes beside it. Default: `report.md` in the folder
    #[arg(long)]
    report: Option<PathBuf>,
    /// Address of the database
    #[arg(long)]
    database: SocketAddr,
    /// File with the process id of the database
    #[arg(long)]
    database_pid: PathBuf,
    /// Address of the object store
    #[arg(long)]
    store: SocketAddr,
    /// File with the process id of the object store
    #[arg(long)]
    store_pid: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Run(options) => run::run(&options),
        Task::Check { history, replicas } => check_again(&history, replicas),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check_again(path: &std::path::Path, replicas: u32) -> Result<bool> {
    let verdict = check::judge(&history::read(path)?, run::rules(replicas));
    report::tell(&verdict);
    Ok(verdict.violations.is_empty())
}
