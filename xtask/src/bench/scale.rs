//! Many repositories that add up to many times the corpus: how time, memory and size grow.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Bench;
use super::engines::aeterna::{Aeterna, Stage};
use super::engines::{Engine, Want};
use super::measure::Distribution;
use super::results::Scale;
use super::{imports, indexing};

const DEADLINE: Duration = Duration::from_secs(2 * 3600);
/// Where the curve has points, in times the corpus.
const POINTS: [usize; 5] = [1, 2, 3, 5, 10];

/// Adds copy after copy to one server and looks at it at each point of the curve.
pub(super) fn measure(bench: &Bench<'_>, binary: &Path, times: usize) -> Result<Vec<Scale>> {
    let data = bench.folder.join("aeterna-scale");
    indexing::empty(&data)?;
    let literals = bench.sets()?.literals;
    let mut server = Aeterna::serve(binary, &data, None)?;
    let (mut repositories, mut wall) = (0, Duration::ZERO);
    let mut curve = Vec::new();
    for number in 1..=times {
        let folder = bench.folder.join(format!("copies/{number}"));
        let copies = imports::make_copy(&bench.corpus, number, &folder)?;
        let started = Instant::now();
        for copy in &copies {
            let name = copy.file_stem().unwrap_or_default().to_string_lossy();
            server.add(copy, &format!("copy-{number}/{name}"))?;
        }
        repositories += copies.len();
        server.wait_until(Stage::Symbols, repositories, DEADLINE)?;
        wall += started.elapsed();
        if !POINTS.contains(&number) && number != times {
            continue;
        }
        let mut latencies = Vec::new();
        for pattern in &literals {
            latencies.push(server.search(pattern, Want::FirstPage)?.elapsed);
        }
        let state = server.state()?;
        let point = Scale {
            times: number,
            repositories,
            bytes: bench.corpus.bytes * number as u64,
            wall: wall.as_secs_f64(),
            cpu: state.cpu,
            peak_memory: state.peak,
            anonymous: state.anonymous,
            index_size: indexing::sizes(&data)?.0,
            first_page: Distribution::of(&latencies),
        };
        println!(
            "{number} times: {:.1} s, index {} B, p95 {:.1} ms",
            point.wall, point.index_size, point.first_page.p95
        );
        curve.push(point);
    }
    server.stop()?;
    std::fs::remove_dir_all(&data)?;
    Ok(curve)
}
