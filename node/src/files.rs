//! Small files of a node.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file that only its owner may read, so that after a crash it is whole or not there.
///
/// # Errors
/// What the system refuses.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_added_extension("partial");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
