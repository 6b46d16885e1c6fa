//! Making an index: time, processor time, peak memory, size.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use super::engines::aeterna::{Aeterna, Stage};
use super::engines::ripgrep::Ripgrep;
use super::engines::{codesearch, zoekt};
use super::measure::{self, Usage};
use super::results::{Indexing, Run};
use crate::children;

const DEADLINE: Duration = Duration::from_secs(3600);
/// The folder of the product's data that holds copies of git's objects, not the index.
const MIRRORS: [&str; 1] = ["repositories"];

/// Makes every engine's index of the corpus, one after the other.
pub(super) fn measure(bench: &Bench<'_>, run: &mut Run) -> Result<()> {
    let corpus = &bench.corpus;
    warm_page_cache(&corpus.tree, &corpus.git_dir)?;
    run.indexing.clear();
    run.commands = vec![("ripgrep".to_owned(), Ripgrep::command_line())];
    let mut command = |name: &str, line: &str| run.commands.push((name.into(), line.into()));
    command("codesearch", "cindex -reset TREE; csearch -c PATTERN");
    if bench.aeterna.is_some() {
        let line = "aeterna serve --index CORPUS.git --data DATA; GET /api/v1/search?q=…&pageSize=50&context=1, or q=count:all …";
        command("Aeterna", line);
    }
    if bench.zoekt {
        command(
            "Zoekt",
            "zoekt-git-index -submodules=false -incremental=false [-disable_ctags|-require_ctags] CORPUS.git",
        );
        command("Zoekt, serving", "zoekt-webserver -rpc; POST /api/search");
        for want in [super::engines::Want::FirstPage, super::engines::Want::Every] {
            let pattern = super::patterns::without_trigrams().remove(0);
            command("Zoekt, request", &zoekt::request(&pattern, want).to_string());
        }
    }
    if let Some(binary) = &bench.aeterna {
        run.indexing.extend(aeterna(bench, binary)?);
    }
    let section = children::section("bench: indexing with cindex");
    let index = bench.codesearch_index();
    let usage = codesearch::index(&corpus.tree, &index, &bench.folder)?;
    run.indexing.push(row("codesearch (no content)", usage, fs::metadata(&index)?.len()));
    section.done();
    if bench.zoekt {
        for (name, folder, symbols) in [
            ("Zoekt, without symbols", bench.folder.join("zoekt"), zoekt::Symbols::Without),
            ("Zoekt, with ctags", bench.zoekt_index(), zoekt::Symbols::WithCtags),
        ] {
            let section = children::section(&format!("bench: indexing with {name}"));
            empty(&folder)?;
            let usage = zoekt::index(&corpus.git_dir, &folder, symbols, false, &bench.folder)?;
            run.indexing.push(row(name, usage, measure::folder_size(&folder)?));
            section.done();
        }
    }
    Ok(())
}

fn row(name: &str, usage: Usage, index_size: u64) -> Indexing {
    let Usage { wall, cpu, peak_memory } = usage;
    println!(
        "{name}: {wall:.1} s, processor {cpu:.1} s, peak {peak_memory} B, index {index_size} B"
    );
    let beside = BTreeMap::new();
    Indexing { name: name.to_owned(), wall, cpu, peak_memory, index_size, beside }
}

/// One run gives two rows: when text can be searched, and when symbols can be too.
fn aeterna(bench: &Bench<'_>, binary: &Path) -> Result<Vec<Indexing>> {
    let section = children::section("bench: indexing with Aeterna");
    let data = bench.aeterna_data();
    empty(&data)?;
    let server = Aeterna::serve(binary, &data, Some(&bench.corpus.git_dir))?;
    let mut reached = Vec::new();
    for (name, stage) in [
        ("Aeterna, until text is searchable", Stage::Text),
        ("Aeterna, with symbols", Stage::Symbols),
    ] {
        server.wait_until(stage, 1, DEADLINE)?;
        let wall = server.started().elapsed().as_secs_f64();
        let state = server.state()?;
        reached.push((name, Usage { wall, cpu: state.cpu, peak_memory: state.peak }));
    }
    server.stop()?;
    let (index_size, beside) = sizes(&data)?;
    section.done();
    let rows = reached
        .into_iter()
        .map(|(name, usage)| Indexing { beside: beside.clone(), ..row(name, usage, index_size) });
    Ok(rows.collect())
}

/// The size of what searching needs, and of each mirror folder.
pub(super) fn sizes(data: &Path) -> Result<(u64, BTreeMap<String, u64>)> {
    let (mut index, mut beside) = (0, BTreeMap::new());
    for entry in fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata()?;
        let size =
            if metadata.is_dir() { measure::folder_size(&entry.path())? } else { metadata.len() };
        if MIRRORS.contains(&name.as_str()) {
            beside.insert(name, size);
        } else {
            index += size;
        }
    }
    Ok((index, beside))
}

/// An empty folder, whatever was there.
pub(super) fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(fs::create_dir_all(folder)?)
}

/// Reads what is about to be indexed once, so that the first engine is not the one that pays for the disk.
fn warm_page_cache(tree: &Path, git_dir: &Path) -> Result<()> {
    let script = r#"find "$0" "$1" -type f -print0 | xargs -0 cat > /dev/null"#;
    children::run(std::process::Command::new("sh").args(["-c", script]).arg(tree).arg(git_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_not_the_index() {
        let data = tempfile::tempdir().unwrap();
        for folder in ["repositories", "index"] {
            fs::create_dir(data.path().join(folder)).unwrap();
            fs::write(data.path().join(folder).join("file"), "1234").unwrap();
        }
        fs::write(data.path().join("catalog.sqlite"), "12").unwrap();
        let (index, beside) = sizes(data.path()).unwrap();
        assert_eq!((index, beside["repositories"]), (6, 4));
    }
}
