//! Measures how fast symbols are found, and prints them for comparisons with other tools.
//!
//! `symbols_speed [--print] PATH…` reads files and folders, detects each file's language, and
//! reports the time for each language, the slowest files and those that failed. With `--print`
//! every symbol is printed as `path TAB name TAB kind TAB line TAB container`.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aeterna_index::languages;
use aeterna_index::symbols::{Extractor, Limits, Symbol};

/// How many of the slowest files are reported.
const SLOWEST: usize = 10;

#[derive(Default)]
struct Total {
    files: usize,
    bytes: usize,
    symbols: usize,
    failed: usize,
    time: Duration,
}

fn main() -> ExitCode {
    let (options, paths): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let print = options.iter().any(|option| option == "--print");
    if paths.is_empty() {
        eprintln!("usage: symbols_speed [--print] PATH…");
        return ExitCode::from(2);
    }
    let mut files = Vec::new();
    for path in paths {
        collect(Path::new(&path), &mut files);
    }
    match measure(&files, print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot print: {error}");
            ExitCode::from(2)
        }
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_symlink() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        files.push(path.to_path_buf());
        return;
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        collect(&entry, files);
    }
}

fn measure(files: &[PathBuf], print: bool) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut extractor = Extractor::new();
    let limits = Limits::default();
    let mut totals: BTreeMap<&str, Total> = BTreeMap::new();
    let mut slowest: Vec<(Duration, usize, &Path)> = Vec::new();
    let (mut detection, mut classification) = (Duration::ZERO, Duration::ZERO);
    for path in files {
        let Ok(content) = std::fs::read(path) else {
            continue;
        };
        let start = Instant::now();
        let language = languages::detect(path.as_os_str().as_encoded_bytes(), &content);
        detection += start.elapsed();
        let start = Instant::now();
        std::hint::black_box(classify(path.as_os_str().as_encoded_bytes(), &content));
        classification += start.elapsed();
        let Some(language) = language.filter(|&language| Extractor::supports(language)) else {
            continue;
        };
        let start = Instant::now();
        let result = extractor.extract(language, &content, &limits);
        let time = start.elapsed();
        let total = totals.entry(language.name()).or_default();
        total.files += 1;
        total.bytes += content.len();
        total.time += time;
        slowest.push((time, content.len(), path));
        match result {
            Ok(symbols) => {
                total.symbols += symbols.len();
                if print {
                    print_symbols(&mut out, path, &content, &symbols)?;
                }
            }
            Err(error) => {
                total.failed += 1;
                eprintln!("{}: {error}", path.display());
            }
        }
    }
    slowest.sort_unstable_by(|a, b| b.cmp(a));
    report(&totals, &slowest);
    eprintln!(
        "{} files: {detection:.2?} to detect languages, {classification:.2?} for vendored, generated, tests, documentation",
        files.len()
    );
    out.flush()
}

fn classify(path: &[u8], content: &[u8]) -> [bool; 4] {
    [
        languages::is_vendored(path),
        languages::is_generated(path, content),
        languages::is_test(path),
        languages::is_documentation(path),
    ]
}

fn print_symbols(
    out: &mut impl Write,
    path: &Path,
    content: &[u8],
    symbols: &[Symbol],
) -> std::io::Result<()> {
    let name = |symbol: &Symbol| {
        let range = symbol.name.start as usize..symbol.name.end as usize;
        String::from_utf8_lossy(content.get(range).unwrap_or_default())
    };
    let (mut line, mut counted) = (1, 0);
    for symbol in symbols {
        let start = symbol.name.start as usize;
        line += content[counted..start].iter().filter(|&&byte| byte == b'\n').count();
        counted = start;
        let container = symbol.container.map(|index| name(&symbols[index as usize]));
        writeln!(
            out,
            "{}\t{}\t{}\t{line}\t{}",
            path.display(),
            name(symbol),
            symbol.kind,
            container.unwrap_or_default()
        )?;
    }
    Ok(())
}

fn report(totals: &BTreeMap<&str, Total>, slowest: &[(Duration, usize, &Path)]) {
    for (language, total) in totals {
        let seconds = total.time.as_secs_f64();
        let speed = total.bytes as f64 / 1e6 / seconds.max(1e-9);
        eprintln!(
            "{language:12} {:6} files {:8.1} MB {:8} symbols {:3} failed {seconds:7.2} s {speed:7.1} MB/s",
            total.files,
            total.bytes as f64 / 1e6,
            total.symbols,
            total.failed,
        );
    }
    for (time, size, path) in slowest.iter().take(SLOWEST) {
        eprintln!("{time:10.2?} {size:9} {}", path.display());
    }
}
