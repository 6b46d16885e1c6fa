//! Randomness of the whole process, as far as it comes through the system's `getrandom`: a thread that
//! was given a seed gets numbers that follow from it, every other thread gets the system's.
//!
//! The standard library looks `getrandom` up weakly so that it can be replaced ("interposition, for
//! measurements that want to disable randomness for consistency", `std::sys::random::linux`), and the
//! crate `getrandom` by `dlsym`; `build.rs` exports it for that. So the order of hash maps, the branches
//! that `tokio::select!` looks at first, and new UUIDs follow from the seed, without a line in the code
//! that is simulated.

use std::cell::Cell;
use std::ffi::{c_uint, c_void};

use crate::chance::Chance;

thread_local! {
    /// Without a destructor or an initialiser that could run late: this is asked from anywhere.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Has this thread's random numbers follow from a seed, from now on. To be called first on a new thread:
/// what the standard library has drawn for a thread before stays.
///
/// # Errors
///
/// When the numbers do not follow from the seed, because something else answers for `getrandom`.
pub fn seed_this_thread(seed: u64) -> anyhow::Result<()> {
    let drawn = || {
        STATE.set(Some(seed));
        (uuid::Uuid::new_v4(), uuid::Uuid::new_v4())
    };
    let (one, other) = (drawn(), drawn());
    anyhow::ensure!(one == other, "random numbers do not follow from the seed on this system");
    anyhow::ensure!(one.0 != one.1, "random numbers are always the same");
    STATE.set(Some(seed));
    Ok(())
}

/// As getrandom(2).
///
/// # Safety
///
/// `buffer` must be that of the caller, with `length` bytes that may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    let Some(state) = STATE.get() else {
        // SAFETY: the caller's arguments, as they are.
        let drawn = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return drawn as isize;
    };
    if length == 0 {
        // Somebody asks whether there is such a call.
        return 0;
    }
    let mut chance = Chance::new(state);
    let mut filled = 0;
    while filled < length {
        let bytes = chance.next().to_le_bytes();
        let count = bytes.len().min(length - filled);
        // SAFETY: `filled + count` is at most `length`, and the caller owns so many bytes there.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>().add(filled), count);
        }
        filled += count;
    }
    STATE.set(Some(chance.next()));
    length as isize
}
