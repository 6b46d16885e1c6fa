//! The number of shards that a folder was made with: it decides where every repository is.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::manifest::sync_folder;
use super::set::shard_name;
use crate::IndexError;

const COUNT_FILE: &str = "shards";

/// What a folder says.
enum Said {
    /// Nothing yet.
    Nothing,
    Count(u32),
    /// What it said is damaged.
    Damaged(String),
}

/// The number of shards that a folder has; `wanted` where it has none yet.
pub(super) fn of_folder(folder: &Path, wanted: u32) -> Result<u32, IndexError> {
    match read(folder)? {
        Said::Count(count) => Ok(count),
        Said::Nothing => write(folder, wanted).map(|()| wanted),
        Said::Damaged(text) => recount(folder, &text),
    }
}

/// Fails where a folder was made with another number of shards. Where that is not known, since it
/// is new or the number damaged, it has this one from now on.
pub(super) fn must_be(folder: &Path, count: u32) -> Result<(), IndexError> {
    match read(folder)? {
        Said::Count(found) if found == count => Ok(()),
        Said::Count(found) => {
            Err(IndexError::OtherCount { path: folder.to_owned(), found, wanted: count })
        }
        Said::Nothing => write(folder, count),
        Said::Damaged(text) => {
            tracing::error!(text, count, "the number of shards was damaged; it is written again");
            write(folder, count)
        }
    }
}

fn read(folder: &Path) -> Result<Said, IndexError> {
    let path = folder.join(COUNT_FILE);
    match fs::read_to_string(&path) {
        Ok(text) if text == text_of(count_in(&text)) => Ok(Said::Count(count_in(&text))),
        Ok(text) => Ok(Said::Damaged(text)),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Ok(Said::Damaged("no text".to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Said::Nothing),
        Err(error) => Err(IndexError::io("cannot read", path)(error)),
    }
}

/// The number with a checksum: another one would look for repositories where they are not.
fn text_of(count: u32) -> String {
    format!("{count} {:016x}\n", xxh3_64(&count.to_le_bytes()))
}

fn count_in(text: &str) -> u32 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Where the number is damaged, the shards' own folders tell it: all were made when the number was
/// written, or none held anything yet.
fn recount(folder: &Path, text: &str) -> Result<u32, IndexError> {
    let made = (0..u32::MAX).take_while(|number| folder.join(shard_name(*number)).is_dir());
    let count = u32::try_from(made.count()).unwrap_or(u32::MAX).max(1);
    tracing::error!(text, count, "the number of shards was damaged; it was counted anew");
    write(folder, count)?;
    Ok(count)
}

fn write(folder: &Path, count: u32) -> Result<(), IndexError> {
    let path = folder.join(COUNT_FILE);
    let temporary = folder.join("shards.tmp");
    fs::write(&temporary, text_of(count))
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(IndexError::io("cannot write", &path))?;
    sync_folder(folder)
}
