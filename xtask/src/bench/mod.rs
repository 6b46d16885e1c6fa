//! `cargo xtask bench`: this engine and its peers, side by side in one run on one machine.

mod cluster;
mod corpus;
mod engines;
mod http;
mod imports;
mod indexing;
mod latency;
mod load;
mod machine;
mod measure;
mod patterns;
mod plot;
mod push;
mod relevance;
mod report;
mod results;
mod scale;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};

pub(crate) use self::measure::Measured;

use self::corpus::{Corpus, Source};
use self::engines::aeterna::{self, Aeterna};
use self::engines::codesearch::Codesearch;
use self::engines::ripgrep::Ripgrep;
use self::engines::zoekt::{self, Zoekt};
use self::engines::{Engine, Want};
use self::latency::{Answers, Figures, Paths, Sets};
use self::machine::Origin;
use self::patterns::Sampler;
use self::results::{CorpusFacts, Kept, Run, Serving};
use crate::{children, paths};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    instead: Option<Instead>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Instead {
    /// Write docs/benchmarks.md again from the last run's figures
    Report,
    /// How often the wanted document comes first, over labelled queries
    Relevance(relevance::Options),
    /// Clusters of real processes on this machine, and a model of a large one
    Cluster(cluster::Options),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Time, memory and size of making an index
    Index,
    /// Memory of the servers, latencies, and whether answers agree
    Search,
    /// From a push to searchable
    Push,
    /// Many clients, idle and while a repository is indexed
    Load,
    /// Many times the corpus
    Scale,
}

#[derive(clap::Args)]
pub(crate) struct Measure {
    #[command(flatten)]
    source: Source,
    /// The `aeterna` to measure; the release binary is built when none is given
    #[arg(long, value_name = "FILE", conflicts_with = "peers_only")]
    aeterna: Option<PathBuf>,
    /// Leave Aeterna out
    #[arg(long)]
    peers_only: bool,
    /// Leave Zoekt out
    #[arg(long)]
    without_zoekt: bool,
    /// Measure only these parts, and take the others' figures from the last run
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Search the indexes of the last run instead of making new ones (figures of indexing are then its)
    #[arg(long)]
    reuse: bool,
    /// How many literals are sampled from the corpus
    #[arg(long, default_value_t = 300)]
    literals: usize,
    /// How many regexes are searched for
    #[arg(long, default_value_t = 100)]
    regexes: usize,
    /// What the random choices begin with: the same seed asks the same questions
    #[arg(long, default_value_t = 61)]
    seed: u64,
    /// How often latencies are measured; the better time counts
    #[arg(long, default_value_t = 2)]
    repetitions: usize,
    /// How many times the corpus the largest generated one is
    #[arg(long, default_value_t = 10)]
    times: usize,
}

/// What every part needs.
struct Bench<'a> {
    options: &'a Measure,
    corpus: Corpus,
    /// Indexes, clones, results.
    folder: PathBuf,
    /// None with `--peers-only`.
    aeterna: Option<PathBuf>,
    zoekt: bool,
}

/// Measures, or does what was asked for instead.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.instead {
        Some(Instead::Report) => {
            let file = results_file()?;
            match file.is_file() {
                true => report::write(&Run::load(&file)?)?,
                false => println!("{} is not there: only clusters are reported", file.display()),
            }
            cluster::report_again()
        }
        Some(Instead::Relevance(options)) => relevance::run(options),
        Some(Instead::Cluster(options)) => cluster::run(options),
        None => measure(&options.measure),
    }
}

fn results_file() -> Result<PathBuf> {
    Ok(paths::cache()?.join("bench/run.json"))
}

fn measure(options: &Measure) -> Result<()> {
    let section = children::section("bench: corpus");
    let corpus = Corpus::prepare(&options.source)?;
    println!(
        "{}: {} files, {} bytes, commit {}",
        corpus.name,
        corpus.files.len(),
        corpus.bytes,
        corpus.commit
    );
    section.done();
    let zoekt = !options.without_zoekt && zoekt::programs().is_some();
    if !zoekt {
        println!("Zoekt is left out: zoekt-git-index and zoekt-webserver are not in PATH");
    }
    let aeterna = match options.peers_only {
        true => None,
        false => Some(aeterna::binary(options.aeterna.as_deref())?),
    };
    let folder = paths::cache()?.join("bench").join(&corpus.name);
    std::fs::create_dir_all(&folder)?;
    Bench { options, corpus, folder, aeterna, zoekt }.run()
}

impl Bench<'_> {
    fn wants(&self, part: Part) -> bool {
        self.options.only.is_empty() || self.options.only.contains(&part)
    }

    fn run(&self) -> Result<()> {
        let file = results_file()?;
        let mut run = match self.options.only.is_empty() && !self.options.reuse {
            true => Run::default(),
            false => Run::load(&file).unwrap_or_else(|error| {
                println!("only what is measured now will be in the tables: {error:#}");
                Run::default()
            }),
        };
        let ripgrep = Ripgrep::new(&self.corpus.tree)?;
        let origin = Origin::of(self.options.aeterna.as_deref());
        let aeterna = self.aeterna.as_deref().map(|binary| (binary, origin));
        run.machine = machine::describe(&ripgrep, aeterna)?;
        run.corpus = self.facts();
        if self.wants(Part::Index) && !self.options.reuse {
            indexing::measure(self, &mut run)?;
            run.save(&file)?;
        }
        if self.wants(Part::Search) {
            self.search(&mut run, ripgrep)?;
            run.save(&file)?;
        }
        if self.wants(Part::Push) {
            let section = children::section("bench: push");
            run.push = push::measure(self)?;
            run.save(&file)?;
            section.done();
        }
        if let Some(binary) = &self.aeterna {
            if self.wants(Part::Load) {
                let section = children::section("bench: many clients");
                run.load = Some(load::measure(self, binary)?);
                run.save(&file)?;
                section.done();
            }
            if self.wants(Part::Scale) && self.options.times > 0 {
                let section = children::section("bench: many times the corpus");
                run.scale = scale::measure(self, binary, self.options.times)?;
                run.save(&file)?;
                section.done();
            }
        }
        report::write(&run)
    }

    fn facts(&self) -> CorpusFacts {
        CorpusFacts {
            name: self.corpus.name.clone(),
            commit: self.corpus.commit.clone(),
            files: self.corpus.files.len(),
            bytes: self.corpus.bytes,
            seed: self.options.seed,
            literals: self.options.literals,
            regexes: self.options.regexes,
        }
    }

    fn sets(&self) -> Result<Sets> {
        let (tree, files) = (&self.corpus.tree, &self.corpus.files);
        let mut sampler = Sampler::new(tree, files, self.options.seed);
        Ok(Sets {
            literals: sampler.literals(self.options.literals)?,
            regexes: sampler.regexes(self.options.regexes)?,
            without_trigrams: patterns::without_trigrams(),
        })
    }

    fn aeterna_data(&self) -> PathBuf {
        self.folder.join("aeterna")
    }

    fn zoekt_index(&self) -> PathBuf {
        self.folder.join("zoekt-ctags")
    }

    fn codesearch_index(&self) -> PathBuf {
        self.folder.join("csearchindex")
    }

    /// Memory, latencies and agreement. The servers are asked in turns, with nothing else running.
    fn search(&self, run: &mut Run, mut ripgrep: Ripgrep) -> Result<()> {
        let sets = self.sets()?;
        let mut paths = Paths::default();
        run.serving.clear();
        run.latencies.clear();
        run.agreement.clear();
        run.against_scan.clear();

        let mut programs = Codesearch::new(&self.corpus.tree, &self.codesearch_index())?;
        let engines: &mut [&mut dyn Engine] = &mut [&mut ripgrep, &mut programs];
        let answers = self.ask(run, engines, &sets, 1, &mut paths)?;
        let [scan, csearch] = answers.as_slice() else { bail!("two programs were asked") };
        self.compare(run, "csearch", csearch, scan, &paths);

        let mut zoekt = match self.zoekt {
            true => Some(Zoekt::serve(&self.zoekt_index())?),
            false => None,
        };
        let mut aeterna = match &self.aeterna {
            Some(binary) => Some(Aeterna::serve(binary, &self.aeterna_data(), None)?),
            None => None,
        };
        let pids = [
            ("Zoekt", zoekt.as_ref().map(Zoekt::pid)),
            ("Aeterna", aeterna.as_ref().map(Aeterna::pid)),
        ];
        let states = || -> Result<Vec<_>> {
            let running = pids.into_iter().filter_map(|(name, pid)| Some((name, pid?)));
            running.map(|(name, pid)| Ok((name, measure::process_state(pid)?))).collect()
        };
        let started = states()?;
        let mut servers: Vec<&mut dyn Engine> = Vec::new();
        servers.extend(zoekt.as_mut().map(|zoekt| zoekt as &mut dyn Engine));
        servers.extend(aeterna.as_mut().map(|aeterna| aeterna as &mut dyn Engine));
        let answers = self.ask(run, &mut servers, &sets, self.options.repetitions, &mut paths)?;
        for (((name, started), (_, searched)), answers) in
            started.into_iter().zip(states()?).zip(&answers)
        {
            let searched = Some(searched);
            run.serving.push(Serving { name: name.to_owned(), started, searched });
            self.compare(run, name, answers, scan, &paths);
            if name == "Aeterna" {
                for want in [Want::Counts, Want::Every] {
                    run.against_scan.push(latency::against_scan(answers, want, scan));
                }
            }
        }
        aeterna.map_or(Ok(()), Aeterna::stop)
    }

    fn ask(
        &self,
        run: &mut Run,
        engines: &mut [&mut dyn Engine],
        sets: &Sets,
        repetitions: usize,
        paths: &mut Paths,
    ) -> Result<Vec<Answers>> {
        let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
        let section = children::section(&format!("bench: searching with {}", names.join(" and ")));
        let figures = latency::measure(engines, sets, repetitions, paths)?;
        section.done();
        let keep = |of: Figures| {
            run.latencies.extend(of.latencies);
            of.answers
        };
        Ok(figures.into_iter().map(keep).collect())
    }

    fn compare(
        &self,
        run: &mut Run,
        engine: &str,
        answers: &Answers,
        scan: &Answers,
        paths: &Paths,
    ) {
        let tree = &self.corpus.tree;
        run.agreement.push(latency::agreement(engine, answers, scan, paths, tree));
    }
}
