//! Repositories made of the corpus: a push to it, and copies of it that no engine can take for the same.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};

use anyhow::{Context, Result, bail};

use super::corpus::{Corpus, git};
use super::patterns::Random;
use crate::children::{self, Running};

/// So that a corpus without text ends with an error, not never.
const MOST_TRIES: usize = 100_000;

/// A copy of a bare repository that new commits may be pushed to.
pub(crate) fn clone_bare(git_dir: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    children::output(
        Command::new("git").args(["clone", "--quiet", "--bare"]).arg(git_dir).arg(to),
    )?;
    Ok(())
}

fn init_bare(git_dir: &Path) -> Result<()> {
    let arguments = ["init", "--quiet", "--bare", "--initial-branch=main"];
    children::output(Command::new("git").args(arguments).arg(git_dir))?;
    Ok(())
}

/// Adds a commit to `git_dir` that appends a line with `token` to `count` files, as a push would.
pub(crate) fn commit_changes(
    corpus: &Corpus,
    git_dir: &Path,
    count: usize,
    token: &str,
    random: &mut Random,
) -> Result<()> {
    let branch = git(git_dir, &["symbolic-ref", "HEAD"])?.trim().to_owned();
    let mut import = FastImport::start(git_dir)?;
    import.commit(&branch, token, true)?;
    let mut changed = BTreeSet::new();
    for _ in 0..MOST_TRIES {
        if changed.len() == count {
            return import.finish();
        }
        let file = random.choose(&corpus.files).context("an empty corpus")?;
        let mut content = fs::read(corpus.tree.join(file))?;
        // A file that none of the engines skips, so that all of them can find all of it.
        let skipped = content.len() > 100_000 || content.contains(&0) || content.is_empty();
        if skipped || !changed.insert(file) {
            continue;
        }
        content.extend_from_slice(format!("\n/* {token} */\n").as_bytes());
        import.file(file, &content)?;
    }
    bail!("{} has fewer than {count} text files", corpus.name)
}

/// Makes bare repositories, one for each top-level folder of the corpus, with content that differs from it and
/// from every other copy's in every file.
pub(crate) fn make_copy(corpus: &Corpus, number: usize, folder: &Path) -> Result<Vec<PathBuf>> {
    let done = folder.join("done");
    if !done.is_file() {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        import_copy(corpus, number, folder)?;
        fs::write(&done, "")?;
    }
    let mut repositories: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    repositories.retain(|path| path.extension().is_some_and(|extension| extension == "git"));
    repositories.sort();
    Ok(repositories)
}

/// One bare repository with the whole corpus, every file's content being different from the corpus'.
pub(crate) fn make_whole_copy(corpus: &Corpus, git_dir: &Path) -> Result<PathBuf> {
    if git_dir.join("done").is_file() {
        return Ok(git_dir.to_owned());
    }
    if git_dir.exists() {
        fs::remove_dir_all(git_dir)?;
    }
    init_bare(git_dir)?;
    let mut import = FastImport::start(git_dir)?;
    import.commit("refs/heads/main", "copy", false)?;
    for file in &corpus.files {
        import.file(file, &copied(corpus, 0, file)?)?;
    }
    import.finish()?;
    fs::write(git_dir.join("done"), "")?;
    Ok(git_dir.to_owned())
}

/// A bare repository with some files of a folder, named by their places below `inside`.
pub(crate) fn make_part(tree: &Path, inside: &Path, files: &[&Path], git_dir: &Path) -> Result<()> {
    init_bare(git_dir)?;
    let mut import = FastImport::start(git_dir)?;
    import.commit("refs/heads/main", "part", false)?;
    for file in files {
        let path = tree.join(file);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        import.file(file.strip_prefix(inside).unwrap_or(file), &content)?;
    }
    import.finish()
}

/// A file's content, and what makes it no other copy's.
fn copied(corpus: &Corpus, number: usize, file: &Path) -> Result<Vec<u8>> {
    let mut content = format!("copy {number} of {}\n", file.display()).into_bytes();
    let path = corpus.tree.join(file);
    content.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    Ok(content)
}

fn import_copy(corpus: &Corpus, number: usize, folder: &Path) -> Result<()> {
    let mut current: Option<(PathBuf, FastImport)> = None;
    for file in &corpus.files {
        let mut parts = file.components();
        let first = parts.next().context("a file without a name")?;
        let rest = parts.as_path();
        let (top, inner) = if rest.as_os_str().is_empty() {
            (Path::new("root"), file.as_path())
        } else {
            (Path::new(first.as_os_str()), rest)
        };
        let name = format!("{}-{number}.git", top.to_string_lossy().trim_start_matches('.'));
        let git_dir = folder.join(name);
        if current.as_ref().is_none_or(|(open, _)| *open != git_dir) {
            if let Some((_, import)) = current.take() {
                import.finish()?;
            }
            let exists = git_dir.is_dir();
            if !exists {
                init_bare(&git_dir)?;
            }
            let mut import = FastImport::start(&git_dir)?;
            import.commit("refs/heads/main", "copy", exists)?;
            current = Some((git_dir, import));
        }
        if let Some((_, import)) = &mut current {
            import.file(inner, &copied(corpus, number, file)?)?;
        }
    }
    match current {
        Some((_, import)) => import.finish(),
        None => Ok(()),
    }
}

/// `git fast-import`, which writes one pack and no loose objects.
struct FastImport {
    process: Running,
    input: BufWriter<ChildStdin>,
}

impl FastImport {
    fn start(git_dir: &Path) -> Result<Self> {
        let (process, input) = Running::start_with_input(
            Command::new("git")
                .arg("--git-dir")
                .arg(git_dir)
                .args(["-c", "pack.compression=1", "-c", "core.compression=1"])
                .args(["fast-import", "--quiet", "--force"]),
        )?;
        Ok(Self { process, input: BufWriter::new(input) })
    }

    fn commit(&mut self, branch: &str, message: &str, onto_existing: bool) -> Result<()> {
        writeln!(self.input, "commit {branch}")?;
        writeln!(self.input, "committer benchmark <benchmark@localhost> 1767225600 +0000")?;
        writeln!(self.input, "data {}\n{message}", message.len())?;
        if onto_existing {
            writeln!(self.input, "from {branch}^0")?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        write!(self.input, "M 100644 inline ")?;
        self.input.write_all(&quoted(path))?;
        writeln!(self.input, "\ndata {}", content.len())?;
        self.input.write_all(content)?;
        writeln!(self.input)?;
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let Self { process, input } = self;
        drop(input.into_inner().context("cannot write to git fast-import")?);
        let status = process.wait()?;
        if !status.success() {
            bail!("git fast-import failed: {status}");
        }
        Ok(())
    }
}

/// A path in git's C-like quotes.
fn quoted(path: &Path) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            b'\n' => quoted.extend(b"\\n"),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_changes_the_asked_number_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, git_dir) = (folder.path().join("tree"), folder.path().join("repo.git"));
        fs::create_dir(&tree).unwrap();
        let files: Vec<PathBuf> = (0..9).map(|n| PathBuf::from(format!("a \"{n}\"\\.c"))).collect();
        init_bare(&git_dir).unwrap();
        let mut import = FastImport::start(&git_dir).unwrap();
        import.commit("refs/heads/main", "first", false).unwrap();
        for file in &files {
            fs::write(tree.join(file), "text\n").unwrap();
            import.file(file, b"text\n").unwrap();
        }
        import.finish().unwrap();
        let commit = git(&git_dir, &["rev-parse", "HEAD"]).unwrap();
        let corpus =
            Corpus { name: "c".into(), tree, git_dir: git_dir.clone(), commit, files, bytes: 45 };
        commit_changes(&corpus, &git_dir, 5, "needle", &mut Random::new(1)).unwrap();
        let found = git(&git_dir, &["grep", "-l", "needle", "HEAD"]).unwrap();
        assert_eq!(found.lines().count(), 5);
        let all = git(&git_dir, &["ls-tree", "-r", "--name-only", "HEAD"]).unwrap();
        assert_eq!(all.lines().count(), 9);
    }
}
