//! A node's disk for its part of the Raft group: it forgets, or half remembers, what was not synced
//! when the node crashes.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aeterna_cluster::consensus::Pace;
use async_trait::async_trait;
use redb::StorageBackend;

use crate::chance::Chance;

/// The unit in which a disk writes whole or not at all.
const SECTOR: usize = 512;

enum Write {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Write {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Bytes { at, bytes } => put(image, *at, bytes),
        }
    }
}

fn put(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[at..end].copy_from_slice(bytes);
}

/// A write that was not synced yet, and what was there before.
struct Pending {
    write: Write,
    length: usize,
    at: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Image {
    /// What a reader sees.
    seen: Vec<u8>,
    /// In order.
    pending: Vec<Pending>,
    /// After a crash: whoever still has the disk open reads and writes nothing.
    dead: bool,
}

/// A disk that is open.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Image>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power is lost: the disk as it is found afterwards. Of the writes that were not synced some
    /// are there, and of some of those a part.
    pub fn crash(&self, chance: &mut Chance) -> Self {
        let mut image = self.lock();
        image.dead = true;
        let mut left = std::mem::take(&mut image.seen);
        let pending = std::mem::take(&mut image.pending);
        for Pending { length, at, bytes, .. } in pending.iter().rev() {
            left.resize(*length, 0);
            put(&mut left, *at, bytes);
        }
        for Pending { write, .. } in &pending {
            match (chance.below(3), write) {
                (0, _) => {}
                (1, Write::Bytes { at, bytes }) => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if chance.permille(500) {
                            put(&mut left, at + number * SECTOR, sector);
                        }
                    }
                }
                _ => write.apply(&mut left),
            }
        }
        Self(Arc::new(Mutex::new(Image { seen: left, ..Image::default() })))
    }

    /// The database on it.
    ///
    /// # Errors
    ///
    /// As redb: what is there cannot be read.
    pub fn open(&self) -> Result<redb::Database, redb::DatabaseError> {
        redb::Builder::new().set_cache_size(1 << 20).create_with_backend(self.clone())
    }
}

impl Image {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is lost")) } else { Ok(()) }
    }

    fn write(&mut self, write: Write) -> io::Result<()> {
        self.alive()?;
        let length = self.seen.len();
        let (from, to) = match &write {
            Write::Length(to) => ((*to).min(length), length),
            Write::Bytes { at, bytes } => ((*at).min(length), (at + bytes.len()).min(length)),
        };
        let bytes = self.seen[from..to].to_vec();
        write.apply(&mut self.seen);
        self.pending.push(Pending { write, length, at: from, bytes });
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.lock();
        image.alive()?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = image.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).map_err(io::Error::other)?;
        self.lock().write(Write::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.lock();
        image.alive()?;
        image.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.lock().write(Write::Bytes { at, bytes: data.to_vec() })
    }
}

/// How fast a disk is.
#[derive(Debug)]
pub struct Speed {
    state: Mutex<(Chance, Duration)>,
}

impl Speed {
    /// A disk whose accesses take at most so long.
    pub fn new(chance: Chance, most: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((chance, most)) })
    }

    /// From now on accesses take at most so long.
    pub fn set(&self, most: Duration) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = most;
    }

    fn next(&self) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let most = u64::try_from(state.1.as_millis()).unwrap_or(u64::MAX);
        state.0.millis(0, most)
    }
}

#[async_trait]
impl Pace for Speed {
    async fn turn(&self) {
        let wait = self.next();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}
