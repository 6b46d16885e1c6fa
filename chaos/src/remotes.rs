//! Git repositories that the clients push to, and what of them a search must find.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::history::{Entry, History, Push, Seen, Span};
use crate::random::Random;

/// What every file that counts has in it, and nothing else has.
pub(crate) const MARK: &str = "chaosmark";
/// Files that come and go in turn, one a commit.
const TURNS: u32 = 3;
/// Text that makes a repository worth moving.
const BALLAST_LINES: u64 = 1500;
/// One of so many has twice as much.
const LARGE_OF: u64 = 12;
/// More than the one has, and less than the other: that is indexed in parts.
pub(crate) const PART_BYTES: u64 = 75_000;

/// A repository with its commits.
pub(crate) struct Remote {
    /// `chaos/<name>`.
    pub(crate) name: String,
    folder: PathBuf,
    /// Number of the newest commit.
    newest: u32,
    /// Its id.
    pub(crate) newest_id: String,
    /// Ids of commits that are to be indexed, as somebody was told: the newest that was there then, and what came
    /// later.
    pub(crate) promised: Vec<String>,
}

/// The files with the mark that a commit holds, and their text.
pub(crate) fn files_of(repository: &str, number: u32) -> BTreeMap<String, String> {
    let text = format!("{MARK} {repository} {number}\n");
    let names = ["first.txt".to_owned(), "z/last.txt".to_owned()];
    let turns = (1..=number).rev().take(TURNS as usize - 1);
    let turns = turns.map(|number| (turn(number), format!("{MARK} {repository} turn {number}\n")));
    names.map(|name| (name, text.clone())).into_iter().chain(turns).collect()
}

fn turn(number: u32) -> String {
    format!("turn/{}.txt", number % TURNS)
}

/// What a search found in a repository: the commit that holds just this, or what it is instead.
pub(crate) fn seen(repository: &str, id: &str, found: BTreeMap<String, String>) -> Seen {
    let number = found
        .get("first.txt")
        .and_then(|text| text.trim_end().rsplit(' ').next())
        .and_then(|number| number.parse().ok());
    match number {
        Some(number) if files_of(repository, number) == found => {
            Seen::Commit { number, id: id.to_owned() }
        }
        _ => Seen::Mixture(found),
    }
}

impl Remote {
    /// A repository with a first commit.
    pub(crate) fn new(
        folder: &Path,
        name: &str,
        random: &mut Random,
        history: &History,
    ) -> Result<Self> {
        let folder = folder.join(name.replace('/', "-"));
        fs::create_dir_all(&folder)?;
        let mut remote = Self {
            name: name.to_owned(),
            folder,
            newest: 0,
            newest_id: String::new(),
            promised: Vec::new(),
        };
        remote.git(&["init", "--quiet", "--initial-branch=main"])?;
        // Nothing that goes on behind a commit.
        remote.git(&["config", "gc.auto", "0"])?;
        let line = |random: &mut Random| {
            format!("{:016x} {:016x}\n", random.below(u64::MAX), random.below(u64::MAX))
        };
        let is_large = random.below(LARGE_OF) == 0;
        for name in ["ballast.txt", "more.txt"].iter().take(1 + usize::from(is_large)) {
            let ballast: String = (0..BALLAST_LINES).map(|_| line(random)).collect();
            fs::write(remote.folder.join(name), ballast)?;
        }
        remote.push(history)?;
        Ok(remote)
    }

    /// Where it is fetched from.
    pub(crate) fn url(&self) -> String {
        self.folder.display().to_string()
    }

    /// Makes the next commit, and tells the history.
    pub(crate) fn push(&mut self, history: &History) -> Result<()> {
        let number = self.newest + 1;
        let wanted = files_of(&self.name, number);
        for turn in (0..TURNS).map(turn).filter(|turn| !wanted.contains_key(turn)) {
            match fs::remove_file(self.folder.join(turn)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        for (path, text) in wanted {
            let path = self.folder.join(path);
            fs::create_dir_all(path.parent().context("a file without a folder")?)?;
            fs::write(path, text)?;
        }
        self.git(&["add", "--all"])?;
        let begun = history.now();
        self.git(&["commit", "--quiet", "--message", &format!("commit {number}")])?;
        let id = self.git(&["rev-parse", "HEAD"])?.trim().to_owned();
        self.newest = number;
        self.newest_id.clone_from(&id);
        self.promised.push(id.clone());
        let span = Span { begun, ended: history.now() };
        history.add(Entry::Push(Push { repository: self.name.clone(), number, id, span }));
        Ok(())
    }

    /// Somebody was told that the newest commit will be indexed.
    pub(crate) fn promise(&mut self) {
        self.promised.clear();
        self.promised.push(self.newest_id.clone());
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(&self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
            .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
            .output()
            .context("cannot run git")?;
        if !output.status.success() {
            bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_told_from_a_mixture_of_two() {
        let files = files_of("chaos/a", 5);
        assert_eq!(files.len(), 4);
        let seen_as = |files| seen("chaos/a", "id", files);
        assert_eq!(seen_as(files.clone()), Seen::Commit { number: 5, id: "id".to_owned() });
        for (path, text) in &files {
            let mut less = files.clone();
            less.remove(path);
            assert!(matches!(seen_as(less), Seen::Mixture(_)), "without {path}");
            let mut other = files.clone();
            other.insert(path.clone(), text.replace('5', "4").replace("turn 4", "turn 1"));
            assert!(matches!(seen_as(other), Seen::Mixture(_)), "another {path}");
        }
        let mut more = files;
        more.insert(turn(6), format!("{MARK} chaos/a turn 3\n"));
        assert!(matches!(seen_as(more), Seen::Mixture(_)));
    }

    #[test]
    fn the_first_commit_has_no_turn_before_it() {
        assert_eq!(files_of("chaos/a", 1).len(), 3);
    }
}
