//! The database, which waits for room when its disk is full.
//!
//! A write that finds no room is made again until there is: to openraft that is a slow disk, and the
//! node goes on with all else. redb refuses everything after a failed write, so the file is closed and
//! opened again; what the failed transaction left in it is not part of the database.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use redb::Database;

use super::StoreError;

/// How often it is tried whether there is room again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Opens the database again.
type Open = Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>;

/// A database, or what has become of it.
#[derive(Debug)]
enum State {
    Open(Database),
    /// Until there is room.
    Full,
    /// Tasks of openraft may outlive the node's wish to stop, and must neither write then nor hold the
    /// lock of the file.
    Closed,
}

pub(super) struct File {
    state: RwLock<State>,
    /// `None` where a full disk is an error like others.
    open: Option<Open>,
    /// Whether the last write found no room.
    is_full: AtomicBool,
    /// Nobody waits any more.
    is_closing: AtomicBool,
}

impl File {
    pub fn new(database: Database, open: Option<Open>) -> Self {
        let state = RwLock::new(State::Open(database));
        Self { state, open, is_full: AtomicBool::default(), is_closing: AtomicBool::default() }
    }

    /// Whether writes wait for room.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// What a transaction makes of the database, once there is room for it. Blocks; a transaction may be
    /// run several times, of which the last counts.
    pub fn run<T>(
        &self,
        run: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        loop {
            match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
                State::Closed => return Err(StoreError::Closed),
                State::Full => {}
                State::Open(database) => match run(database) {
                    Ok(done) => return Ok(done),
                    Err(error) if self.may_be_waited_for(&error) => {}
                    Err(error) => return Err(error.into()),
                },
            }
            self.open_again()?;
            if self.is_closing.load(Ordering::Acquire) {
                return Err(StoreError::Closed);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Notes that a write found room.
    pub fn written(&self) {
        if self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!("there is room on the disk again: the Raft group's log goes on");
        }
    }

    fn may_be_waited_for(&self, error: &redb::Error) -> bool {
        let is_full = is_full(error);
        if is_full && self.open.is_some() && !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %error,
                "the disk of the Raft group's log is full: this node takes no part in the group until \
                 there is room; searches go on"
            );
        }
        // Whatever else was at work when a write failed is refused, too.
        self.open.is_some() && (is_full || matches!(error, redb::Error::PreviousIo))
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let Some(open) = &self.open else { return Ok(()) };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Closed) {
            return Err(StoreError::Closed);
        }
        // It holds the lock of the file until it is dropped.
        *state = State::Full;
        match open() {
            Ok(database) => *state = State::Open(database),
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Has those fail who wait for room, and whoever finds none from now on.
    pub fn wait_no_more(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Lets go of the file, when what is being written is written. Everything fails from then on.
    pub fn close(&self) {
        self.wait_no_more();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("is_full", &self.is_full).finish_non_exhaustive()
    }
}

fn is_full(error: &redb::Error) -> bool {
    let redb::Error::Io(error) = error else { return false };
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
