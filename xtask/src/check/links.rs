//! Links between the repository's own Markdown files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Fails when a relative link leads to no file, or its anchor to no heading. Links to other hosts are not followed:
/// a check must not fail because someone else's server is down.
pub(super) fn check(root: &Path) -> Result<()> {
    let mut documents = BTreeMap::new();
    for file in super::files(root, ".md")? {
        let text = fs::read_to_string(root.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        documents.insert(file, Document::parse(&text));
    }
    let mut problems = Vec::new();
    let mut count = 0;
    for (file, document) in &documents {
        for (line, target) in &document.links {
            count += 1;
            if let Some(problem) = problem(root, file, target, &documents) {
                problems.push(format!("{}:{line}: {target}: {problem}", file.display()));
            }
        }
    }
    println!("{count} links in {} files", documents.len());
    super::no_problems(&problems)
}

fn problem(
    root: &Path,
    file: &Path,
    target: &str,
    documents: &BTreeMap<PathBuf, Document>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    if path.starts_with('/') {
        return Some("an absolute path works on one machine only".to_owned());
    }
    let led_to = if path.is_empty() {
        file.to_owned()
    } else {
        let Some(led_to) = resolve(file.parent().unwrap_or(Path::new("")), path) else {
            return Some("leads out of the repository".to_owned());
        };
        led_to
    };
    if !root.join(&led_to).exists() {
        return Some("no such file".to_owned());
    }
    let anchor = anchor?;
    let document = documents.get(&led_to)?;
    (!document.anchors.contains(anchor)).then(|| "no such heading".to_owned())
}

/// `relative` as seen from `folder`, without `.` and `..`; none when it leaves the root.
fn resolve(folder: &Path, relative: &str) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in folder.join(relative).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            other => resolved.push(other),
        }
    }
    Some(resolved)
}

/// What matters of a Markdown file here.
#[derive(Debug, Default, PartialEq)]
struct Document {
    /// Line number and target of each link.
    links: Vec<(usize, String)>,
    /// What `#…` may lead to.
    anchors: BTreeSet<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut fence: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            let trimmed = line.trim_start();
            let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
            match (fence, mark) {
                (None, Some(mark)) => fence = Some(mark),
                (Some(open), Some(mark)) if open == mark => fence = None,
                (Some(_), _) => {}
                (None, None) => document.add_line(number + 1, line),
            }
        }
        document
    }

    fn add_line(&mut self, number: usize, line: &str) {
        if line.starts_with('#') {
            self.add_heading(line.trim_start_matches('#'));
        }
        let line = without_code(line);
        // Inline links and images: `](target)` or `](target "title")`; references: `[name]: target`.
        for (_, rest) in line.match_indices("](").map(|(at, mark)| line.split_at(at + mark.len())) {
            if let Some((target, _)) = rest.split_once(')') {
                self.add_link(number, target);
            }
        }
        if line.starts_with('[')
            && let Some((_, target)) = line.split_once("]: ")
        {
            self.add_link(number, target);
        }
    }

    fn add_link(&mut self, number: usize, target: &str) {
        if let Some(target) = target.split_whitespace().next() {
            let target = target.trim_start_matches('<').trim_end_matches('>');
            self.links.push((number, target.to_owned()));
        }
    }

    /// GitHub's rule: lower case, punctuation dropped, spaces become hyphens, a number for the same text again.
    fn add_heading(&mut self, heading: &str) {
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c),
                _ => None,
            })
            .collect();
        let mut anchor = slug.clone();
        let mut again = 0;
        while !self.anchors.insert(anchor) {
            again += 1;
            anchor = format!("{slug}-{again}");
        }
    }
}

/// The line with its `code` left out.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    if parts.len().is_multiple_of(2) {
        // An unbalanced backquote is text.
        return line.to_owned();
    }
    parts.into_iter().step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let document = Document::parse(
            "# A b\n[x](one.md) and `[y](two.md)` ![z](three.svg \"t\")\n```\n[w](four.md)\n```\n[r]: five.md\n",
        );
        let links: Vec<_> = document.links.iter().map(|(n, t)| (*n, t.as_str())).collect();
        assert_eq!(links, [(2, "one.md"), (2, "three.svg"), (6, "five.md")]);
    }

    #[test]
    fn headings_become_anchors_as_on_github() {
        let document =
            Document::parse("# Speed, memory, size\n## `cargo xtask test`\n## Speed, memory, size");
        let anchors: Vec<_> = document.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["cargo-xtask-test", "speed-memory-size", "speed-memory-size-1"]);
    }

    #[test]
    fn a_link_must_lead_to_a_file_and_a_heading() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/a.md"), "# One").unwrap();
        let documents = BTreeMap::from([(PathBuf::from("docs/a.md"), Document::parse("# One"))]);
        let check = |file: &str, target| problem(root.path(), Path::new(file), target, &documents);
        assert_eq!(check("README.md", "docs/a.md"), None);
        assert_eq!(check("README.md", "docs/a.md#one"), None);
        assert_eq!(check("docs/a.md", "#one"), None);
        assert_eq!(check("docs/a.md", "../docs"), None);
        assert_eq!(check("README.md", "https://example.org/x"), None);
        assert_eq!(check("docs/a.md", "b.md").as_deref(), Some("no such file"));
        assert_eq!(check("README.md", "docs/a.md#two").as_deref(), Some("no such heading"));
        assert_eq!(check("README.md", "../x.md").as_deref(), Some("leads out of the repository"));
    }
}
