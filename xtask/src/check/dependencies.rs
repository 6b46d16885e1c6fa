//! `docs/dependencies.md` and the workspace's `Cargo.toml`s say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::children;

const LIST: &str = "docs/dependencies.md";

/// Fails when a direct dependency of a member is not listed with a reason, or something else is.
pub(super) fn check(root: &Path) -> Result<()> {
    let metadata = children::output(super::cargo(root).args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--locked",
    ]))?;
    let wanted = direct_dependencies(&metadata)?;
    let text =
        fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    println!("{} direct dependencies", wanted.len());
    super::no_problems(&compare(&wanted, &listed(&text)?))
}

/// Each dependency from a registry, with the members that name it.
fn direct_dependencies(metadata: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).context("cargo metadata is not JSON")?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let member = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Members depend on each other by path; those have no source.
            if dependency["source"].is_null() {
                continue;
            }
            let name = dependency["name"].as_str().context("a dependency without a name")?;
            found.entry(name.to_owned()).or_default().insert(member.to_owned());
        }
    }
    if found.is_empty() {
        bail!("cargo metadata lists no dependency at all");
    }
    Ok(found)
}

/// The first two cells of each row of the list's tables: a dependency in backquotes, and why it is there.
fn listed(text: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.trim().trim_matches('|').split('|').map(str::trim);
        let Some(name) = cells.next().and_then(|cell| cell.strip_prefix('`')) else {
            continue;
        };
        let Some(name) = name.strip_suffix('`').filter(|_| line.starts_with('|')) else {
            continue;
        };
        let why = cells.next().unwrap_or_default().to_owned();
        if found.insert(name.to_owned(), why).is_some() {
            bail!("{LIST} lists {name} twice");
        }
    }
    Ok(found)
}

fn compare(
    wanted: &BTreeMap<String, BTreeSet<String>>,
    listed: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, members) in wanted {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let used = members.join(", ");
        match listed.get(name).map(String::as_str) {
            None => problems.push(format!("{LIST} does not say why {used} needs {name}")),
            Some("") => problems.push(format!("{LIST} lists {name} (in {used}) without a reason")),
            Some(_) => {}
        }
    }
    for name in listed.keys().filter(|name| !wanted.contains_key(*name)) {
        problems.push(format!("{LIST} lists {name}, which no member depends on"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> BTreeMap<String, BTreeSet<String>> {
        let metadata = r#"{"packages": [
            {"name": "a", "dependencies": [
                {"name": "serde", "source": "registry"}, {"name": "b", "source": null}]},
            {"name": "b", "dependencies": [{"name": "serde", "source": "registry"}]}]}"#;
        direct_dependencies(metadata).unwrap()
    }

    #[test]
    fn members_are_no_dependencies() {
        let wanted = wanted();
        assert_eq!(wanted.len(), 1);
        assert_eq!(wanted["serde"], BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn what_is_missing_unexplained_or_too_much_is_said() {
        let problems = |text| compare(&wanted(), &listed(text).unwrap());
        assert!(problems("| crate | why |\n|---|---|\n| `serde` | JSON |").is_empty());
        assert_eq!(problems("nothing"), ["docs/dependencies.md does not say why a, b needs serde"]);
        assert_eq!(
            problems("| `serde` | |\n| `old` | JSON |"),
            [
                "docs/dependencies.md lists serde (in a, b) without a reason",
                "docs/dependencies.md lists old, which no member depends on"
            ]
        );
    }

    #[test]
    fn a_dependency_is_listed_once() {
        assert!(listed("| `serde` | JSON |\n| `serde` | again |").is_err());
    }
}
