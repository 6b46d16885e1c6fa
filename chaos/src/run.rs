//! One run, from the first node's start to the report.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::check::{self, Rules};
use crate::clients::{self, Left, Writer};
use crate::faults::{self, Schedule};
use crate::history::{Entry, clock};
use crate::random::Random;
use crate::servers::Server;
use crate::world::{Plan, SHARDS, World};
use crate::{Options, judge, network, observer, report};

const SEARCHERS: usize = 3;
const WRITERS: usize = 2;
/// How long the cluster may take until all is served again after what was broken is put right.
const BOUND: Duration = Duration::from_secs(90);
/// A copy says that it is behind after ten seconds; the rest is for clocks that are read at different times.
const STALENESS_OF_COPIES: u64 = 12_000_000;
/// Settings of the nodes that this program's environment has.
const PASSED_ON: [&str; 8] = [
    "DATABASE_URL",
    "COLD_STORAGE_PROVIDER",
    "COLD_STORAGE_BUCKET",
    "COLD_STORAGE_PREFIX",
    "COLD_STORAGE_ENDPOINT",
    "COLD_STORAGE_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
];

/// What is allowed with so many holders of a shard.
pub(crate) fn rules(replicas: u32) -> Rules {
    Rules { staleness: if replicas > 1 { STALENESS_OF_COPIES } else { 0 } }
}

/// Runs; true when nothing was wrong.
///
/// # Errors
/// When the run cannot be made. That the cluster does not recover is wrong, and no error.
pub(crate) fn run(options: &Options) -> Result<bool> {
    network::check()?;
    // Disks that are mounted here are gone with this process.
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace; that takes root")?;
    let recursive = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, recursive, None::<&str>)?;
    fs::create_dir_all(&options.folder)?;
    let folder = options.folder.canonicalize()?;
    let plan = plan(options, &folder)?;
    let database = Server::new("the database", options.database, options.database_pid.clone());
    let store = Server::new("the object store", options.store, options.store_pid.clone());
    let world = World::new(&plan, database, store)?;
    println!("{} nodes, {} shards, {} a shard", plan.nodes, SHARDS, plan.replicas);
    world.start(BOUND).context("the cluster does not start")?;
    println!("{} started", clock(world.history.now()));
    let broken = work(&world, options, &folder);
    if let Err(error) = &broken {
        world.history.wrong(format!("{error:#}"));
    }
    logs(&world);
    // A whole build, of which only what it did is of use from here on.
    fs::remove_file(&plan.program)?;
    let entries = world.history.finish()?;
    let verdict = check::judge(&entries, rules(options.replicas));
    let path = options.report.clone().unwrap_or_else(|| folder.join("report.md"));
    report::write(&path, options, &entries, &verdict)?;
    report::tell(&verdict);
    println!("report: {}; history and logs: {}", path.display(), folder.display());
    Ok(verdict.violations.is_empty())
}

fn plan(options: &Options, folder: &Path) -> Result<Plan> {
    let program = folder.join("aeterna");
    // Whoever builds meanwhile changes nothing here.
    fs::hard_link(&options.program, &program)
        .or_else(|_| fs::copy(&options.program, &program).map(drop))
        .with_context(|| format!("no program {}", options.program.display()))?;
    let servers = PASSED_ON.iter().filter_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(((*name).to_owned(), value))
    });
    Ok(Plan {
        program,
        folder: folder.to_owned(),
        nodes: options.nodes,
        replicas: options.replicas,
        servers: servers.collect(),
    })
}

/// Clients work, and everything is broken in turn; then the judge asks.
fn work(world: &Arc<World>, options: &Options, folder: &Path) -> Result<()> {
    let remotes: PathBuf = folder.join("remotes");
    let left = std::thread::scope(|scope| {
        for place in 0..world.nodes.len() {
            scope.spawn(move || observer::watch(world, place));
        }
        for number in 1..=SEARCHERS {
            let client = format!("searcher-{number}");
            let random = Random::named(options.seed, &client);
            scope.spawn(move || clients::search(world, &client, random));
        }
        let writers: Vec<_> = (1..=WRITERS)
            .map(|number| {
                let client = format!("writer-{number}");
                let random = Random::named(options.seed, &client);
                let remotes = &remotes;
                scope.spawn(move || Writer::new(&client, random, remotes).work(world))
            })
            .collect();
        // A thread like the others: should it panic, they still hear that it is over.
        let broken = scope.spawn(|| break_in_turn(world, options)).join();
        world.is_over.store(true, Ordering::Release);
        let mut all = Left::default();
        for writer in writers {
            let left = writer.join().map_err(|_| anyhow!("a writer panicked"))??;
            all.remotes.extend(left.remotes);
            all.gone.extend(left.gone);
        }
        broken.map_err(|_| anyhow!("whoever breaks panicked"))?.map(|()| all)
    })?;
    world.settle(BOUND)?;
    println!("{} the judge asks", clock(world.history.now()));
    judge::ask_everything(world, &left.remotes, &left.gone);
    Ok(())
}

fn break_in_turn(world: &World, options: &Options) -> Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    for (number, step) in (1..).zip(Schedule::new(options.seed, &options.only)) {
        world.pause(step.gap);
        if Instant::now() >= until {
            break;
        }
        let (begun, kind) = (clock(world.history.now()), step.kind.name());
        println!("{begun} {number:>3} {kind}");
        let fault = faults::inject(world, number, step, BOUND)?;
        println!("{}     {}", clock(fault.settled), fault.detail);
        world.history.add(Entry::Fault(fault));
    }
    Ok(())
}

/// A panic is wrong, whatever came of it.
fn logs(world: &World) {
    for node in &world.nodes {
        for line in node.log().lines().filter(|line| line.contains("panicked at")) {
            world.history.wrong(format!("{} panicked: {line}", node.name));
        }
    }
}
