//! Files that can be read in one sitting.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The most lines that a Rust file may have.
const MOST_LINES: usize = 650;

/// Fails when a Rust file is too long.
pub(super) fn check(root: &Path) -> Result<()> {
    let files = super::files(root, ".rs")?;
    let mut problems = Vec::new();
    for file in &files {
        let text = fs::read_to_string(root.join(file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().count();
        if lines > MOST_LINES {
            problems.push(format!(
                "{} has {lines} lines, more than {MOST_LINES}: split it by idea",
                file.display()
            ));
        }
    }
    println!("{} files", files.len());
    super::no_problems(&problems)
}
