//! What names, globs and paths may be.

use crate::git::check_glob;
use crate::{ManagerError, mask_password};

/// Longest name.
const MAX_NAME: usize = 200;
/// Globs of one repository.
const MAX_GLOBS: usize = 100;

/// Checks a name that a user gave.
pub(crate) fn check_name(name: &str) -> Result<(), ManagerError> {
    let invalid = |reason| ManagerError::InvalidName { name: shortened(name), reason };
    if name.len() > MAX_NAME {
        return Err(invalid("it is longer than 200 bytes"));
    }
    if !name.contains('/') {
        return Err(invalid("it has no owner"));
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Err(invalid("a part of it is empty"));
        }
        if part.starts_with(['.', '-']) {
            return Err(invalid("a part of it starts with a dot or a dash"));
        }
        if !part.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) {
            return Err(invalid("it may hold letters, digits, dots, dashes and underscores"));
        }
    }
    Ok(())
}

/// Checks globs that a user gave.
pub(crate) fn check_globs(globs: &[String]) -> Result<(), ManagerError> {
    if globs.len() > MAX_GLOBS {
        let glob = format!("{} globs", globs.len());
        return Err(ManagerError::InvalidGlob { glob, reason: "there may be 100 at most" });
    }
    for glob in globs {
        check_glob(glob)
            .map_err(|reason| ManagerError::InvalidGlob { glob: shortened(glob), reason })?;
    }
    Ok(())
}

/// A path below a repository's root without a slash at its end; empty for the root.
pub(crate) fn check_path(path: &[u8]) -> Result<&[u8], ManagerError> {
    let outside =
        || ManagerError::PathOutsideRepository { path: shortened(&String::from_utf8_lossy(path)) };
    let inner = path.strip_suffix(b"/").unwrap_or(path);
    if inner.is_empty() && path.is_empty() {
        return Ok(inner);
    }
    let strange = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    if inner.contains(&0) || inner.split(|&byte| byte == b'/').any(strange) {
        return Err(outside());
    }
    Ok(inner)
}

/// A user's text as an error may hold it: short, and without the password of a URL.
pub(crate) fn shortened(text: &str) -> String {
    mask_password(text).chars().take(200).collect()
}
