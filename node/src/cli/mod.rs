//! The command line.

pub mod args;
pub mod client;
mod cluster;
mod cluster_args;
mod dev;
mod print;
pub mod progress;
mod recover;
pub mod repos;
mod search;
mod shards;
mod storage;
pub mod terminal;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::args::{
    Cli, CodeSearchArgs, CodeSearchCommand, Command, ConfigCommand, ConfigCommandArgs, RepoArgs,
    SearchArgs, StorageArgs,
};
use self::client::ClientError;
use self::cluster_args::{ClusterArgs, ClusterCommand, NodeArgs, ShardArgs};
use self::terminal::printable;
use crate::api::problem::ProblemBody;
use crate::config::{self, ConfigError};
use crate::serve::{self, ServeError};

/// Name of the program where it is found through `PATH`.
const NAME: &str = "aeterna";

/// How a command ended, as grep does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or something was found.
    Success,
    /// Nothing was found.
    Nothing,
    /// An error.
    Error,
}

impl Exit {
    fn found(found: bool) -> Self {
        if found { Self::Success } else { Self::Nothing }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Nothing => 1,
            Exit::Error => 2,
        })
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server cannot run.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The server did not do what was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server refused a search.
    #[error("{}", problem.detail)]
    Search {
        /// What the server said.
        problem: Box<ProblemBody>,
        /// What was searched for.
        query: String,
    },
    /// Writing the output failed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        // Whoever read the output has seen enough: `aeterna search … | head`.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Exit::Success.into()
        }
        Err(error) => {
            let message = error.to_string();
            let lines: Vec<String> =
                message.lines().map(|line| printable(line.as_bytes())).collect();
            eprintln!("aeterna: {}", lines.join("\n"));
            if let CommandError::Search { problem, query } = &error {
                explain_problem(problem, query);
            }
            Exit::Error.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, CommandError> {
    match cli.command {
        Command::Serve(args) => {
            serve::run(&args)?;
            Ok(Exit::Success)
        }
        Command::Search(args)
        | Command::CodeSearch(CodeSearchArgs { command: CodeSearchCommand::Search(args) }) => {
            client_command(ClientCommand::Search(args))
        }
        Command::Repo(args)
        | Command::CodeSearch(CodeSearchArgs { command: CodeSearchCommand::Repo(args) }) => {
            client_command(ClientCommand::Repo(args))
        }
        Command::Cluster(args)
        | Command::CodeSearch(CodeSearchArgs { command: CodeSearchCommand::Cluster(args) }) => {
            client_command(ClientCommand::Cluster(args))
        }
        Command::Shard(args)
        | Command::CodeSearch(CodeSearchArgs { command: CodeSearchCommand::Shard(args) }) => {
            client_command(ClientCommand::Shard(args))
        }
        Command::Node(args)
        | Command::CodeSearch(CodeSearchArgs { command: CodeSearchCommand::Node(args) }) => {
            client_command(ClientCommand::Node(args))
        }
        Command::Storage(args)
        | Command::CodeSearch(CodeSearchArgs { command: CodeSearchCommand::Storage(args) }) => {
            client_command(ClientCommand::Storage(args))
        }
        Command::Config(args) => show_config(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            io::stdout().write_all(&script)?;
            Ok(Exit::Success)
        }
        Command::Man { dir } => man(dir.as_deref()),
    }
}

enum ClientCommand {
    Search(SearchArgs),
    Repo(RepoArgs),
    Cluster(ClusterArgs),
    Shard(ShardArgs),
    Node(NodeArgs),
    Storage(StorageArgs),
}

fn client_command(command: ClientCommand) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            ClientCommand::Search(args) => search::run(&args).await,
            ClientCommand::Repo(args) => repos::run(&args).await,
            ClientCommand::Cluster(ClusterArgs { command: ClusterCommand::Dev(args) }) => {
                dev::run(&args).await
            }
            ClientCommand::Cluster(ClusterArgs { command: ClusterCommand::Status(args) }) => {
                cluster::status(&args).await
            }
            ClientCommand::Cluster(ClusterArgs { command: ClusterCommand::Recover(args) }) => {
                recover::run(&args).await
            }
            ClientCommand::Shard(args) => shards::shard(&args).await,
            ClientCommand::Node(args) => shards::node(&args).await,
            ClientCommand::Storage(args) => storage::run(&args).await,
        }
    })
}

fn show_config(args: &ConfigCommandArgs) -> Result<Exit, CommandError> {
    let ConfigCommand::Show { config: flags, json } = &args.command;
    let loaded = config::load(flags.config.as_deref(), &flags.values())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let mut out = io::stdout().lock();
    if *json {
        writeln!(out, "{:#}", config::show_json(&loaded))?;
    } else {
        out.write_all(config::show_text(&loaded).as_bytes())?;
    }
    Ok(Exit::Success)
}

fn man(dir: Option<&std::path::Path>) -> Result<Exit, CommandError> {
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(Cli::command(), dir)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            io::stdout().write_all(&page)?;
        }
    }
    Ok(Exit::Success)
}

/// How this program can be called again from the same shell: by its name where that was found
/// through `PATH`, else by the path as it was typed.
pub fn program() -> String {
    let typed = std::env::args().next().unwrap_or_default();
    if typed.contains(std::path::MAIN_SEPARATOR) { shell_quoted(&typed) } else { NAME.to_owned() }
}

/// A word for a POSIX shell.
pub fn shell_quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Queries longer than this are not shown again.
const SHOWN_QUERY: usize = 120;

/// Says where in the query a problem is, what may have been meant, and what was left out.
fn explain_problem(problem: &ProblemBody, query: &str) {
    if let Some(span) = problem.position {
        let start = usize::try_from(span.start).unwrap_or(usize::MAX);
        let end = usize::try_from(span.end).unwrap_or(usize::MAX);
        let parts = (query.get(..start), query.get(start..end));
        let shown = query.len() <= SHOWN_QUERY && !query.contains(char::is_control);
        if let ((Some(before), Some(wrong)), true) = (parts, shown) {
            let marks = "^".repeat(wrong.chars().count().max(1));
            eprintln!("  {query}\n  {}{marks}", " ".repeat(before.chars().count()));
        }
    }
    if let Some(rewrite) = &problem.rewrite {
        eprintln!("  try: {}", printable(rewrite.as_bytes()));
    }
    for skipped in &problem.skipped {
        eprintln!("{}", search::skipped_line(skipped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, quoted) in [
            ("target/release/aeterna", "target/release/aeterna"),
            ("fn main", "'fn main'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(shell_quoted(word), quoted);
        }
    }
}
