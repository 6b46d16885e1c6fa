//! `aeterna-simulation`: simulates seeds, and says which fail. `cargo xtask simulate` runs it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use aeterna_simulation::{Report, regressions, run};
use clap::Parser;

/// Simulates a cluster, its clients and its bad days, as seeds have them.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    /// How many seeds to simulate
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// The seeds that have found something before, too
    #[arg(long)]
    regressions: bool,
    /// Print the log of each seed
    #[arg(long)]
    log: bool,
    /// Simulate each seed twice, and compare the logs
    #[arg(long)]
    twice: bool,
    /// A known mistake to be made, to see that it is found
    #[cfg(feature = "mistakes")]
    #[arg(long, value_name = "NAME")]
    mistake: Option<aeterna_simulation::mistakes::Mistake>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "mistakes")]
    aeterna_simulation::mistakes::make(arguments.mistake);
    let begun = Instant::now();
    let known = if arguments.regressions { regressions() } else { Vec::new() };
    let range = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let seeds: Vec<u64> = known.into_iter().chain(range).collect();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let next = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok();
                while let Some(seed) = next().and_then(|at| seeds.get(at)) {
                    if !simulate(*seed, &arguments) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let took = begun.elapsed().as_secs_f64();
    println!("{} seeds in {took:.1} s, {failed} failed", seeds.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Simulates a seed, and says whether all was well.
fn simulate(seed: u64, arguments: &Arguments) -> bool {
    let times = if arguments.twice { 2 } else { 1 };
    let reports: anyhow::Result<Vec<Report>> = (0..times).map(|_| run(seed)).collect();
    let reports = match reports {
        Ok(reports) => reports,
        Err(error) => {
            println!("seed {seed} cannot be simulated here: {error:#}");
            return false;
        }
    };
    let Some(report) = reports.first() else { return false };
    if arguments.log {
        println!("{}", report.lines.join("\n"));
        println!("seed {seed}: {:?} simulated, log {:016x}", report.simulated, report.hash);
    }
    if let Some(other) = reports.get(1)
        && other.hash != report.hash
    {
        let mut pairs = report.lines.iter().zip(&other.lines);
        let differ = pairs.find(|(one, other)| one != other);
        println!("seed {seed}: two simulations of it differ, first here: {differ:?}");
        return false;
    }
    if let Some(wrong) = &report.wrong {
        println!("seed {seed}: {wrong}");
        println!("  to see it again: cargo xtask simulate --from {seed} --seeds 1 --log");
    }
    report.wrong.is_none()
}
