//! What is indexed: a folder of sources, and the same as one commit in a bare git repository.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{children, paths, tools};

const PACKAGE: &str = "linux-source-6.1";
const ARCHIVE: &str = "/usr/src/linux-source-6.1.tar.xz";
const IDENTITY: [&str; 8] = [
    "-c",
    "user.name=benchmark",
    "-c",
    "user.email=benchmark@localhost",
    "-c",
    "core.autocrlf=false",
    "-c",
    "gc.auto=0",
];

/// A tree of files, and a bare repository whose `HEAD` holds exactly them.
pub(crate) struct Corpus {
    pub(crate) name: String,
    pub(crate) tree: PathBuf,
    pub(crate) git_dir: PathBuf,
    pub(crate) commit: String,
    /// Regular files of the commit, in git's order, relative to `tree`.
    pub(crate) files: Vec<PathBuf>,
    /// What they add up to.
    pub(crate) bytes: u64,
}

/// Where the corpus comes from.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// A folder to index instead of Debian's linux-source-6.1
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// A bare repository whose HEAD is the corpus; it is made when it is not given
    #[arg(long, value_name = "DIR")]
    git_dir: Option<PathBuf>,
}

impl Corpus {
    /// Finds or makes the tree and the repository, and checks that they are the same.
    pub(crate) fn prepare(source: &Source) -> Result<Self> {
        let cache = paths::cache()?.join("bench/corpora");
        fs::create_dir_all(&cache)?;
        let (tree, git_dir) = match (&source.corpus, &source.git_dir) {
            (Some(tree), Some(git_dir)) => (absolute(tree)?, absolute(git_dir)?),
            (None, Some(git_dir)) => {
                let git_dir = absolute(git_dir)?;
                (check_out(&git_dir, &cache)?, git_dir)
            }
            (Some(tree), None) => {
                let tree = absolute(tree)?;
                let git_dir = import(&tree, &cache)?;
                (tree, git_dir)
            }
            (None, None) => {
                let tree = debian_sources(&cache)?;
                let git_dir = import(&tree, &cache)?;
                (tree, git_dir)
            }
        };
        let commit = git(&git_dir, &["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
        let (files, bytes) = regular_files(&git_dir)?;
        verify_same(&tree, &git_dir, &cache)?;
        let name = tree.file_name().unwrap_or(OsStr::new("corpus")).to_string_lossy().into_owned();
        Ok(Self { name, tree, git_dir, commit, files, bytes })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("{} is not there", path.display()))
}

/// What git prints for a repository.
pub(crate) fn git(git_dir: &Path, arguments: &[&str]) -> Result<String> {
    children::output(
        Command::new("git").arg("--git-dir").arg(git_dir).args(IDENTITY).args(arguments),
    )
}

fn debian_sources(cache: &Path) -> Result<PathBuf> {
    let tree = cache.join(PACKAGE);
    if tree.is_dir() {
        return Ok(tree);
    }
    if !Path::new(ARCHIVE).is_file() {
        tools::install_debian(PACKAGE, "the benchmark's large corpus (or pass --corpus DIR)")?;
    }
    println!("unpacking {ARCHIVE}");
    let partial = cache.join(format!("{PACKAGE}.partial-{}", std::process::id()));
    fs::create_dir(&partial)?;
    children::run(
        Command::new("tar").arg("--extract").arg("--file").arg(ARCHIVE).arg("-C").arg(&partial),
    )?;
    fs::rename(partial.join(PACKAGE), &tree)?;
    fs::remove_dir_all(&partial)?;
    Ok(tree)
}

/// A bare repository with everything in `tree` as one commit, always the same one.
fn import(tree: &Path, cache: &Path) -> Result<PathBuf> {
    let name = tree.file_name().context("a corpus needs a folder with a name")?;
    let git_dir = cache.join(name).with_extension("git");
    if git_dir.is_dir() {
        return Ok(git_dir);
    }
    println!("importing {} into {}", tree.display(), git_dir.display());
    let partial = cache.join(format!("import.partial-{}", std::process::id()));
    let fixed = "2026-01-01T00:00:00Z";
    let step = |arguments: &[&str]| -> Result<String> {
        children::output(
            Command::new("git")
                .arg("--git-dir")
                .arg(&partial)
                .arg("--work-tree")
                .arg(tree)
                .args(IDENTITY)
                // Packed right afterwards: compressing the loose objects would be in vain.
                .args(["-c", "core.looseCompression=0"])
                .args(arguments)
                .env("GIT_AUTHOR_DATE", fixed)
                .env("GIT_COMMITTER_DATE", fixed),
        )
    };
    children::output(
        Command::new("git")
            .args(["init", "--quiet", "--bare", "--initial-branch=main"])
            .arg(&partial),
    )?;
    step(&["add", "--all", "--force", "."])?;
    step(&["commit", "--quiet", "--no-verify", "--message", "corpus"])?;
    step(&["repack", "-a", "-d", "--quiet"])?;
    fs::remove_file(partial.join("index"))?;
    fs::rename(&partial, &git_dir)?;
    Ok(git_dir)
}

fn check_out(git_dir: &Path, cache: &Path) -> Result<PathBuf> {
    let commit = git(git_dir, &["rev-parse", "--verify", "HEAD"])?;
    let tree = cache.join(format!("tree-{}", commit.trim()));
    if tree.is_dir() {
        return Ok(tree);
    }
    println!("checking out {}", git_dir.display());
    let partial = cache.join(format!("tree.partial-{}", std::process::id()));
    fs::create_dir(&partial)?;
    children::output(
        Command::new("git")
            .arg("--git-dir")
            .arg(git_dir)
            .arg("--work-tree")
            .arg(&partial)
            .args(["checkout", "--quiet", "--force", "HEAD", "--", "."])
            .env("GIT_INDEX_FILE", partial.with_extension("index")),
    )?;
    fs::remove_file(partial.with_extension("index"))?;
    fs::rename(&partial, &tree)?;
    Ok(tree)
}

fn regular_files(git_dir: &Path) -> Result<(Vec<PathBuf>, u64)> {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(git_dir).args(["ls-tree", "-r", "-z", "--long", "HEAD"]);
    let listed = children::output_bytes(&mut command)?;
    let (mut files, mut bytes) = (Vec::new(), 0);
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        // `100644 blob 0123… 12345<TAB>path`
        let tab = entry.iter().position(|byte| *byte == b'\t').context("ls-tree without a tab")?;
        let (facts, path) = entry.split_at(tab);
        let facts = String::from_utf8_lossy(facts);
        let mut facts = facts.split_whitespace();
        let regular = facts.next().is_some_and(|mode| mode.starts_with("100"));
        if regular {
            bytes += facts.nth(2).and_then(|size| size.parse::<u64>().ok()).unwrap_or_default();
            files.push(PathBuf::from(OsStr::from_bytes(&path[1..])));
        }
    }
    if files.is_empty() {
        bail!("{} has no files at HEAD", git_dir.display());
    }
    Ok((files, bytes))
}

/// Fails unless ripgrep's tree and everyone else's commit have the same content.
fn verify_same(tree: &Path, git_dir: &Path, cache: &Path) -> Result<()> {
    let index = cache.join(format!("verify-{}.index", std::process::id()));
    let step = |arguments: &[&str]| {
        children::output(
            Command::new("git")
                .arg("--git-dir")
                .arg(git_dir)
                .arg("--work-tree")
                .arg(tree)
                .args(IDENTITY)
                .args(["-c", "core.bare=false", "-c", "core.fileMode=false"])
                .args(arguments)
                .env("GIT_INDEX_FILE", &index),
        )
    };
    step(&["read-tree", "HEAD"])?;
    // Fails where something differs, which the next step reports by name; without it, that reports every file.
    let _ = step(&["update-index", "-q", "--refresh"]);
    let changed = step(&["diff-files", "--name-only"])?;
    let new = step(&["ls-files", "--others"])?;
    fs::remove_file(&index)?;
    let different: Vec<&str> = changed.lines().chain(new.lines()).collect();
    if let Some(example) = different.first() {
        bail!(
            "{} and HEAD of {} differ in {} files, such as {example}: answers could not be compared",
            tree.display(),
            git_dir.display(),
            different.len()
        );
    }
    Ok(())
}
