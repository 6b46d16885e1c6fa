//! `cargo xtask bench cluster`: real nodes on this machine, and a model of a large cluster.

mod forward;
mod kill;
mod load;
mod model;
mod node;
mod rebalance;
mod replicas;
mod report;
mod results;
mod rolling;
mod scatter;
mod spread;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

use self::load::Question;
use self::results::ClusterRun;
use self::scatter::Set;
use self::spread::Part;
use self::world::{Backing, SHARDS, World};
use super::corpus::{Corpus, Source};
use super::engines::{Want, aeterna};
use super::machine::{self, Origin};
use super::patterns::{Pattern, Sampler};
use super::results::Kept;
use crate::{children, paths};

/// Nodes of a cluster.
const NODES: usize = 5;
/// Nodes that it begins with where more are to join.
const NODES_BEFORE: usize = 3;
/// Patterns that are searched for under load, whose results are held for comparison.
const LOAD_PATTERNS: usize = 100;
/// Patterns of which every match is counted, over several nodes and one.
const COUNTED_PATTERNS: usize = 60;
/// Patterns whose whole answers are compared before and after a kill.
const COMPARED_PATTERNS: usize = 40;
/// Kills of an owner.
const KILLS: usize = 2;
/// The name of the corpus as one repository.
const LARGE: &str = "corpus/whole";

/// What `cargo xtask bench cluster` takes.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    source: Source,
    /// The `aeterna` to measure, with `aeterna-model` beside it; release binaries are built when none is given
    #[arg(long, value_name = "FILE")]
    aeterna: Option<PathBuf>,
    /// Measure only these rows, and take the others' figures from the last run
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Row>,
    /// How many literals are sampled from the corpus
    #[arg(long, default_value_t = 300)]
    literals: usize,
    /// What the random choices begin with: the same seed asks the same questions
    #[arg(long, default_value_t = 61)]
    seed: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// A repository operation through the wrong node
    Forward,
    /// A search over five nodes against one
    Scatter,
    /// An owner killed, without replicas
    Kill,
    /// A node killed, with two copies of everything
    Replicas,
    /// A rolling restart, with two copies of everything
    Rolling,
    /// Two more nodes, and shards moved to them
    Rebalance,
    /// A model of 500 nodes
    Model,
}

/// What the rows need.
struct Bench<'a> {
    options: &'a Options,
    corpus: Corpus,
    parts: Vec<Part>,
    literals: Vec<Pattern>,
    folder: PathBuf,
    binary: PathBuf,
}

/// Measures, and writes the report.
pub(super) fn run(options: &Options) -> Result<()> {
    let file = results_file()?;
    let mut run = match options.only.is_empty() {
        true => ClusterRun::default(),
        false => ClusterRun::load(&file).unwrap_or_else(|error| {
            println!("only what is measured now will be in the tables: {error:#}");
            ClusterRun::default()
        }),
    };
    let binary = aeterna::binary(options.aeterna.as_deref())?;
    let version = machine::version_of(&binary, Origin::of(options.aeterna.as_deref()))?;
    run.machine = machine::with_versions(vec![("aeterna".into(), version)])?;
    let wants = |row| options.only.is_empty() || options.only.contains(&row);
    if wants(Row::Model) {
        let section = children::section("bench: the model");
        run.model = model::measure(&binary, options.aeterna.is_some())?;
        run.save(&file)?;
        section.done();
    }
    if Row::value_variants().iter().any(|row| *row != Row::Model && wants(*row)) {
        Bench::prepare(options, binary)?.measure(&mut run, &file)?;
    }
    report::write(&run)
}

/// Writes the report of the last run once more, if there was one.
pub(super) fn report_again() -> Result<()> {
    let file = results_file()?;
    if file.is_file() { report::write(&ClusterRun::load(&file)?) } else { Ok(()) }
}

fn results_file() -> Result<PathBuf> {
    Ok(paths::cache()?.join("bench/cluster.json"))
}

impl<'a> Bench<'a> {
    fn prepare(options: &'a Options, binary: PathBuf) -> Result<Self> {
        let section = children::section("bench: corpus");
        let corpus = Corpus::prepare(&options.source)?;
        let folder = paths::cache()?.join("bench").join(&corpus.name).join("cluster");
        std::fs::create_dir_all(&folder)?;
        let parts = spread::repositories(&corpus, &folder.join("repositories"))?;
        let mut sampler = Sampler::new(&corpus.tree, &corpus.files, options.seed);
        let literals = sampler.literals(options.literals.max(LOAD_PATTERNS))?;
        println!("{}: {} bytes in {} repositories", corpus.name, corpus.bytes, parts.len());
        section.done();
        Ok(Self { options, corpus, parts, literals, folder, binary })
    }

    fn wants(&self, row: Row) -> bool {
        self.options.only.is_empty() || self.options.only.contains(&row)
    }

    /// One cluster for all rows: each finds it as the one before it has left it.
    fn measure(&self, run: &mut ClusterRun, file: &std::path::Path) -> Result<()> {
        run.corpus = results::Corpus {
            name: self.corpus.name.clone(),
            bytes: self.corpus.bytes,
            repositories: self.parts.len(),
            shards: SHARDS,
            seed: self.options.seed,
        };
        let with_one_copy = [Row::Rebalance, Row::Forward, Row::Scatter, Row::Kill];
        let copies = if with_one_copy.iter().any(|row| self.wants(*row)) { 1 } else { 2 };
        let nodes = if self.wants(Row::Rebalance) { NODES_BEFORE } else { NODES };
        let backing = Backing::servers()?;
        run.machine.versions.extend(backing.versions());
        let mut world = self.world("several", backing, nodes, copies, &self.parts)?;
        if self.wants(Row::Rebalance) {
            let section = children::section("bench: more nodes");
            let questions = self.questions(&world)?;
            run.rebalance = Some(rebalance::measure(&mut world, &questions)?);
            run.save(file)?;
            section.done();
        }
        if self.wants(Row::Forward) {
            let section = children::section("bench: the wrong node");
            run.forward = forward::measure(&world, &self.parts)?;
            run.save(file)?;
            section.done();
        }
        if self.wants(Row::Scatter) {
            run.scatter = Some(self.scatter(&world)?);
            run.save(file)?;
        }
        if self.wants(Row::Kill) {
            let section = children::section("bench: an owner killed");
            run.kill = Some(self.kill(&mut world)?);
            run.save(file)?;
            section.done();
        }
        if self.wants(Row::Replicas) || self.wants(Row::Rolling) {
            self.with_copies(&mut world, run)?;
            run.save(file)?;
        }
        world.end()
    }

    fn world(
        &self,
        name: &str,
        backing: Backing,
        nodes: usize,
        copies: u32,
        parts: &[Part],
    ) -> Result<World> {
        let section = children::section(&format!("bench: {nodes} nodes with the corpus"));
        let world = World::start(&self.binary, &self.folder.join(name), backing, nodes, copies)?;
        world.fill(parts)?;
        world.settled(0)?;
        section.done();
        Ok(world)
    }

    fn questions(&self, world: &World) -> Result<Vec<Question>> {
        load::questions(world, self.some(LOAD_PATTERNS)?)
    }

    /// The first few of the literals.
    fn some(&self, count: usize) -> Result<&[Pattern]> {
        self.literals.get(..count).context("too few literals")
    }

    fn scatter(&self, several: &World) -> Result<results::Scatter> {
        let one = self.world("one", Backing::Files, 1, 1, &self.parts)?;
        let section = children::section("bench: several nodes against one");
        let sets = [
            Set { name: "literals", patterns: &self.literals, want: Want::FirstPage },
            Set { name: "literals", patterns: self.some(COUNTED_PATTERNS)?, want: Want::Counts },
        ];
        let scatter = scatter::measure(several, &one, &sets)?;
        one.end()?;
        section.done();
        Ok(scatter)
    }

    /// The whole corpus as one repository.
    fn large(&self) -> Part {
        let git_dir = self.corpus.git_dir.clone();
        Part { name: LARGE.to_owned(), git_dir, file: String::new() }
    }

    fn kill(&self, world: &mut World) -> Result<results::Kill> {
        let patterns = self.some(COMPARED_PATTERNS)?;
        world.fill(&[self.large()])?;
        let mut kills = Vec::new();
        for _ in 0..KILLS {
            kills.push(kill::measure(world, LARGE, patterns, "S3")?);
        }
        let mut local = self.world("local", Backing::Files, NODES_BEFORE, 1, &[self.large()])?;
        kills.push(kill::measure(&mut local, LARGE, patterns, "local folder")?);
        local.end()?;
        Ok(results::Kill { heartbeat_timeout: world::HEARTBEAT_TIMEOUT as f64, kills })
    }

    fn with_copies(&self, world: &mut World, run: &mut ClusterRun) -> Result<()> {
        let section = children::section("bench: two copies of everything");
        if world.replicas() != 2 {
            world.restart_with_replicas(2)?;
        }
        world.copied()?;
        section.done();
        let questions = self.questions(world)?;
        if self.wants(Row::Replicas) {
            let section = children::section("bench: a node with copies killed");
            run.replicas = Some(replicas::measure(world, &questions)?);
            section.done();
        }
        if self.wants(Row::Rolling) {
            let section = children::section("bench: a rolling restart");
            run.rolling = Some(rolling::measure(world, &questions)?);
            section.done();
        }
        Ok(())
    }
}
