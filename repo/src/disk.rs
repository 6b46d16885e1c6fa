//! How full a disk is.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// All that this process may use, or something uses already.
    pub total: u64,
    /// Those that this process may still use.
    pub free: u64,
}

impl DiskSpace {
    /// That of the file system that a folder is on.
    ///
    /// # Errors
    /// The system's reason when it does not tell.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let stats = rustix::fs::statvfs(folder)?;
        Ok(Self {
            // What is kept back for the system is neither: `df` counts alike.
            total: (stats.f_blocks.saturating_sub(stats.f_bfree))
                .saturating_add(stats.f_bavail)
                .saturating_mul(stats.f_frsize),
            free: stats.f_bavail.saturating_mul(stats.f_frsize),
        })
    }

    /// Percent that are in use, rounded down; 0 where nothing is known.
    pub fn used_percent(self) -> u64 {
        let used = u128::from(self.total.saturating_sub(self.free));
        u64::try_from(used * 100 / u128::from(self.total.max(1))).unwrap_or(100)
    }
}

type Look = dyn Fn(&Path) -> io::Result<DiskSpace> + Send + Sync;

/// Who tells how full a disk is: the system, or a test.
#[derive(Clone)]
pub struct DiskProbe(Arc<Look>);

impl DiskProbe {
    /// Asks `look` each time.
    pub fn new(look: impl Fn(&Path) -> io::Result<DiskSpace> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    pub(crate) fn look(&self, folder: &Path) -> io::Result<DiskSpace> {
        (self.0)(folder)
    }
}

impl Default for DiskProbe {
    fn default() -> Self {
        Self::new(DiskSpace::of)
    }
}

impl std::fmt::Debug for DiskProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskProbe")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn percents_are_of_what_this_process_may_use() {
        let percent = |total, free| DiskSpace { total, free }.used_percent();
        assert_eq!((percent(0, 0), percent(100, 100), percent(1000, 49)), (0, 0, 95));
        assert_eq!((percent(100, 0), percent(u64::MAX, 0)), (100, 100));
        let here = DiskSpace::of(&std::env::temp_dir()).unwrap();
        assert!(here.total >= here.free && here.total > 0, "{here:?}");
    }
}
