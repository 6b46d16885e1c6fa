//! Git repositories to index.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A repository with a work tree.
pub struct Git {
    folder: TempDir,
    name: String,
}

impl Git {
    /// An empty repository on branch `main`, in a folder `owner/<name>`.
    pub fn new(name: &str) -> Self {
        let git = Self { folder: tempfile::tempdir().unwrap(), name: name.to_owned() };
        std::fs::create_dir_all(git.path()).unwrap();
        git.git(&["init", "-q", "-b", "main"]);
        git
    }

    /// With these files in one commit.
    pub fn with_files(name: &str, files: &[(&str, &[u8])]) -> Self {
        let git = Self::new(name);
        for (path, content) in files {
            git.write(path, content);
        }
        git.commit("first");
        git
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("owner").join(&self.name)
    }

    /// Where it is, as an argument.
    pub fn url(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything and returns the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git in it, without the caller's configuration.
    pub fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.path(), arguments)
    }
}

fn git_in(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")])
        .output()
        .expect("git is installed");
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
