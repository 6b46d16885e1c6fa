//! From a push of some changed files until all of them are found.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Bench;
use super::engines::aeterna::{Aeterna, Stage};
use super::engines::zoekt::{self, Symbols, Zoekt};
use super::engines::{Engine, Want};
use super::patterns::{Kind, Pattern, Random};
use super::results::Push;
use super::{imports, indexing};
use crate::children;

const CHANGED_FILES: usize = 100;
const PUSHES: usize = 5;
const DEADLINE: Duration = Duration::from_secs(1800);

/// Pushes to a copy of the corpus, once for each engine.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Vec<Push>> {
    let mut results = Vec::new();
    let upstream = bench.folder.join("push.git");
    if let Some(binary) = &bench.aeterna {
        imports::clone_bare(&bench.corpus.git_dir, &upstream)?;
        results.push(aeterna(bench, binary, &upstream)?);
    }
    if bench.zoekt {
        imports::clone_bare(&bench.corpus.git_dir, &upstream)?;
        results.push(zoekt(bench, &upstream)?);
    }
    for push in &results {
        println!(
            "{}: {:?} ms, of that indexing {:?} ms",
            push.engine, push.searchable, push.indexing
        );
    }
    Ok(results)
}

fn token(number: usize) -> Pattern {
    Pattern { text: format!("benchmark_push_number_{number}_x"), kind: Kind::Literal }
}

/// Searches until every changed file is found.
fn wait_until_found(engine: &mut dyn Engine, pattern: &Pattern) -> Result<()> {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = (engine.search(pattern, Want::Every)?.matches)()?.len();
        if found == CHANGED_FILES {
            return Ok(());
        }
        if found > CHANGED_FILES || Instant::now() > until {
            bail!("{} finds {found} files with {}", engine.name(), pattern.text);
        }
        if let Some(signal) = children::interrupted() {
            bail!("stopped by signal {signal}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn aeterna(bench: &Bench<'_>, binary: &Path, upstream: &Path) -> Result<Push> {
    let data = bench.folder.join("aeterna-push");
    indexing::empty(&data)?;
    let mut server = Aeterna::serve(binary, &data, Some(upstream))?;
    server.wait_until(Stage::Symbols, 1, DEADLINE)?;
    let repository = server.repositories()?.pop().context("the repository is gone")?;
    let mut random = Random::new(bench.options.seed);
    let (mut searchable, mut indexing) = (Vec::new(), Vec::new());
    for number in 0..PUSHES {
        let pattern = token(number);
        imports::commit_changes(
            &bench.corpus,
            upstream,
            CHANGED_FILES,
            &pattern.text,
            &mut random,
        )?;
        let before = server.indexing_seconds()?;
        let started = Instant::now();
        server.sync(&repository)?;
        wait_until_found(&mut server, &pattern)?;
        searchable.push(milliseconds(started.elapsed()));
        server.wait_until(Stage::Symbols, 1, DEADLINE)?;
        if let (Some(before), Some(after)) = (before, server.indexing_seconds()?) {
            indexing.push((after - before) * 1000.0);
        }
    }
    server.stop()?;
    std::fs::remove_dir_all(&data)?;
    Ok(Push { engine: "Aeterna".to_owned(), files: CHANGED_FILES, searchable, indexing })
}

/// Zoekt's way to add a commit to an index, `-delta`, seen by its running server.
fn zoekt(bench: &Bench<'_>, upstream: &Path) -> Result<Push> {
    let folder = bench.folder.join("zoekt-push");
    indexing::empty(&folder)?;
    zoekt::index(upstream, &folder, Symbols::WithCtags, false, &bench.folder)?;
    let mut server = Zoekt::serve(&folder)?;
    let mut random = Random::new(bench.options.seed);
    let (mut searchable, mut indexing) = (Vec::new(), Vec::new());
    for number in 0..PUSHES {
        let pattern = token(number);
        imports::commit_changes(
            &bench.corpus,
            upstream,
            CHANGED_FILES,
            &pattern.text,
            &mut random,
        )?;
        let started = Instant::now();
        let usage = zoekt::index(upstream, &folder, Symbols::WithCtags, true, &bench.folder)?;
        wait_until_found(&mut server, &pattern)?;
        searchable.push(milliseconds(started.elapsed()));
        indexing.push(usage.wall * 1000.0);
    }
    drop(server);
    std::fs::remove_dir_all(&folder)?;
    Ok(Push { engine: "Zoekt, -delta".to_owned(), files: CHANGED_FILES, searchable, indexing })
}
