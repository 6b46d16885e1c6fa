//! What bounds and steers indexing.

/// Options of a shard; [`Default`] suits a machine of any size.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Threads that index one update.
    pub threads: usize,
    /// Contents larger than this are listed as too large, and only their paths are searched.
    pub max_file_bytes: u64,
    /// Units of content (16 KiB each) of one segment at most. Memory while indexing and the time of
    /// one merge grow with it.
    pub max_segment_units: u32,
    /// Segments of about one size that are merged into one.
    pub merge_factor: usize,
    /// `nice` value of threads that index: searches come first. 0 leaves them as they are.
    pub nice: i32,
    /// Time that reading the symbols of one file may take, in milliseconds.
    pub symbol_timeout_ms: u64,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_file_bytes: 256 << 20,
            max_segment_units: 1 << 18,
            merge_factor: 8,
            nice: 15,
            symbol_timeout_ms: 500,
        }
    }
}

/// Told how far indexing is, and asked whether to go on.
pub trait ProgressSink: Sync {
    /// Contents that were read of those that are to be, and their bytes so far.
    fn progress(&self, contents_done: u64, contents_total: u64, bytes_done: u64);
    /// Whether to stop: the update then fails with [`crate::IndexError::Cancelled`].
    fn cancelled(&self) -> bool;
}

/// Reports nowhere and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn progress(&self, _: u64, _: u64, _: u64) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Lets other threads go first: sets the calling thread's `nice` value. Advisory; a system that
/// refuses leaves the thread as it is.
pub fn yield_to_searches(nice: i32) {
    #[cfg(target_os = "linux")]
    if nice != 0 {
        // SAFETY: plain system calls without pointers; on Linux PRIO_PROCESS takes a thread's id.
        unsafe {
            let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
            libc::setpriority(libc::PRIO_PROCESS, thread, nice);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

/// Gives memory that was freed back to the system: the C library keeps what many threads freed, and
/// a server would otherwise hold the peak of its largest repository or answer for ever.
pub fn release_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a plain call of the C library, safe from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
