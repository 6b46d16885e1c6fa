//! A model of a large cluster: the program `aeterna-model` of `cluster/` runs it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::results::Model;
use crate::{children, paths};

/// Nodes, and shards for each of them as in the largest.
const SIZES: [(u32, u32); 4] = [(63, 512), (125, 1024), (250, 2048), (500, 4096)];
/// Repositories of the largest.
const REPOSITORIES: u64 = 1_000_000;

/// Runs the model at each size; `is_beside` says that it is beside the given binary and is not built.
pub(super) fn measure(binary: &Path, is_beside: bool) -> Result<Vec<Model>> {
    let program = binary.with_file_name("aeterna-model");
    if !is_beside {
        children::run(Command::new("cargo").current_dir(paths::workspace()?).args([
            "build",
            "--release",
            "--package",
            "aeterna-node",
            "--package",
            "aeterna-cluster",
            "--bins",
        ]))?;
    }
    if !program.is_file() {
        bail!("{} is not there: build it with `cargo build --workspace --bins`", program.display());
    }
    let (largest, _) = SIZES[SIZES.len() - 1];
    let mut models = Vec::new();
    for (nodes, shards) in SIZES {
        let repositories = REPOSITORIES * u64::from(nodes) / u64::from(largest);
        let mut command = Command::new(&program);
        for number in [u64::from(nodes), u64::from(shards), repositories] {
            command.arg(number.to_string());
        }
        let said = children::output(&mut command)?;
        let model: Model =
            serde_json::from_str(&said).context("the model printed something else")?;
        println!("{model:?}");
        models.push(model);
    }
    Ok(models)
}
