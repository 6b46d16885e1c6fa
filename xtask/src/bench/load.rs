//! Many clients at once, idle and while a repository is being indexed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::Bench;
use super::engines::Want;
use super::engines::aeterna::{self, Aeterna, Stage};
use super::http::Client;
use super::imports;
use super::measure::Distribution;
use super::patterns::Pattern;
use super::results::Load;

const CLIENTS: usize = 16;
/// A person's pause between two searches; without it the clients measure their own queue.
const PAUSE: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(3600);
/// What is searched: this one alone, so that searches have the same work while the other one comes.
const SEARCHED: &str = "benchmark/searched";

/// Measures first pages of the sampled literals.
pub(super) fn measure(bench: &Bench<'_>, binary: &Path) -> Result<Load> {
    let literals = bench.sets()?.literals;
    let another = imports::make_whole_copy(&bench.corpus, &bench.folder.join("load.git"))?;
    let data = bench.folder.join("aeterna-load");
    super::indexing::empty(&data)?;
    let server = Aeterna::serve(binary, &data, None)?;
    server.add(&bench.corpus.git_dir, SEARCHED)?;
    server.wait_until(Stage::Symbols, 1, DEADLINE)?;
    // Once over everything, so that both measurements find the page cache warm.
    search_while(server.address(), &literals, || {
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    })?;
    let idle = search_while(server.address(), &literals, || {
        std::thread::sleep(IDLE);
        Ok(())
    })?;
    let while_indexing = search_while(server.address(), &literals, || {
        server.add(&another, "benchmark/another")?;
        server.wait_until(Stage::Symbols, 2, DEADLINE)
    })?;
    server.stop()?;
    std::fs::remove_dir_all(&data)?;
    let load = Load {
        clients: CLIENTS,
        idle: Distribution::of(&idle),
        while_indexing: Distribution::of(&while_indexing),
        searches_idle: idle.len(),
        searches_while_indexing: while_indexing.len(),
    };
    println!("idle p95 {:.1} ms, while indexing {:.1} ms", load.idle.p95, load.while_indexing.p95);
    Ok(load)
}

/// The times of all searches that the clients make until `work` is done.
fn search_while(
    address: SocketAddr,
    patterns: &[Pattern],
    work: impl FnOnce() -> Result<()>,
) -> Result<Vec<Duration>> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let done = &done;
                scope.spawn(move || client(address, patterns, number, done))
            })
            .collect();
        let outcome = work();
        done.store(true, Ordering::SeqCst);
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        outcome.map(|()| times)
    })
}

fn client(
    address: SocketAddr,
    patterns: &[Pattern],
    number: usize,
    done: &AtomicBool,
) -> Result<Vec<Duration>> {
    let client = Client::new(address);
    let mut times = Vec::new();
    // Each begins elsewhere in the list, and not all at once.
    std::thread::sleep(PAUSE * u32::try_from(number)? / u32::try_from(CLIENTS)?);
    let start = number * patterns.len() / CLIENTS;
    for pattern in patterns.iter().cycle().skip(start) {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let started = Instant::now();
        let answer = aeterna::search(&client, pattern, Want::FirstPage, Some(SEARCHED))
            .with_context(|| format!("searching for {}", pattern.text))?;
        if answer.status != 200 {
            bail!("status {} for {}", answer.status, pattern.text);
        }
        times.push(answer.elapsed);
        std::thread::sleep(PAUSE.saturating_sub(started.elapsed()));
    }
    Ok(times)
}
