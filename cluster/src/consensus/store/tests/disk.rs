//! A disk whose power can be lost.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::super::Store;

/// The unit in which a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Write {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A disk that forgets what was not synced.
#[derive(Debug, Default)]
pub struct Disk {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
    pending: Vec<Write>,
    /// Writes and syncs until the power is lost; `None` for never.
    pub left: Option<usize>,
    /// Whether there is no room for anything that is written.
    pub full: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Disk>>);

fn apply(image: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => image.resize(*length, 0),
        Write::Bytes { at, bytes } => {
            let end = at + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at..end].copy_from_slice(bytes);
        }
    }
}

impl Disk {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is lost")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, write: Write) -> io::Result<()> {
        self.spend()?;
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        apply(&mut self.seen, &write);
        self.pending.push(write);
        Ok(())
    }

    /// What is on the disk after the power was lost: of the writes that were not synced, some, and of
    /// some of those a part.
    pub fn after_loss(&self, mut luck: u64) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut next = || {
            // Knuth's multiplier (TAOCP 2, 3.3.4); the upper bits are good enough.
            luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            luck >> 33
        };
        for write in &self.pending {
            match (next() % 3, write) {
                (0, _) => {}
                (1, Write::Bytes { at, bytes }) => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if next() % 2 == 0 {
                            let at = at + number * SECTOR;
                            apply(&mut image, &Write::Bytes { at, bytes: sector.to_vec() });
                        }
                    }
                }
                _ => apply(&mut image, write),
            }
        }
        image
    }
}

impl Shared {
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    pub fn with(image: Vec<u8>) -> Self {
        let disk = Disk { seen: image.clone(), durable: image, ..Disk::default() };
        Self(Arc::new(Mutex::new(disk)))
    }

    pub fn open(&self) -> Result<Store, redb::Error> {
        let disk = self.clone();
        Store::opened_by(move || Ok(redb::Builder::new().create_with_backend(disk.clone())?))
    }
}

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk();
        let bytes = disk.seen.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk().write(Write::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.spend()?;
        disk.durable = disk.seen.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk().write(Write::Bytes { at: offset as usize, bytes: data.to_vec() })
    }
}
