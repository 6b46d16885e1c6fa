//! One immutable file of named sections, each page of it guarded by a checksum.
//!
//! Layout: sections one after another; then the page checksums (xxh3, 8 bytes a page); then the
//! footer: the section table, its own checksum, lengths, format number and magic. The footer is
//! checked on opening, each page the first time that a byte of it is wanted, so opening costs
//! nothing and a flipped bit is never read as data.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, UncheckedAdvice};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::IndexError;

const MAGIC: &[u8; 8] = b"AETERNA\x01";
/// Format number of the files that this version writes.
pub(crate) const FORMAT: u32 = 2;
/// Bytes under one checksum.
const PAGE: usize = 64 << 10;
/// Magic, format, section count, page-table offset, checksum of the section table.
const TAIL: usize = 8 + 4 + 4 + 8 + 8;
const SECTION_ENTRY: usize = 4 + 8 + 8;
/// Bytes after which the kernel is asked to start writing, so that the final sync is short.
const WRITE_BEHIND: u64 = 32 << 20;

/// Writes a file of sections, hashing pages as they go by. Unless it is finished the file goes away
/// with the writer.
pub(crate) struct SectionWriter {
    file: File,
    path: PathBuf,
    sections: Vec<(u32, u64, u64)>,
    length: u64,
    flushed: u64,
    hasher: Xxh3,
    in_page: usize,
    pages: Vec<u64>,
    finished: bool,
}

impl Drop for SectionWriter {
    fn drop(&mut self) {
        if !self.finished {
            discard(&self.path);
        }
    }
}

/// Removes a file that is not needed; what cannot be removed now is when the shard is opened.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file that is not needed stays until the next start");
    }
}

impl SectionWriter {
    /// Creates the file; it must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, IndexError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(IndexError::io("cannot create", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            sections: Vec::new(),
            length: 0,
            flushed: 0,
            hasher: Xxh3::new(),
            in_page: 0,
            pages: Vec::new(),
            finished: false,
        })
    }

    /// Starts a section; what is appended from now on belongs to it.
    pub(crate) fn begin(&mut self, section: u32) {
        self.sections.push((section, self.length, 0));
    }

    /// Bytes of the current section so far.
    pub(crate) fn section_length(&self) -> u64 {
        self.sections.last().map_or(0, |section| section.2)
    }

    /// Appends to the current section.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        self.hash(bytes);
        self.write(bytes)?;
        if let Some(section) = self.sections.last_mut() {
            section.2 += bytes.len() as u64;
        }
        self.length += bytes.len() as u64;
        if self.length - self.flushed >= WRITE_BEHIND {
            start_writeback(&self.file, self.flushed, self.length - self.flushed);
            self.flushed = self.length;
        }
        Ok(())
    }

    /// A whole section at once.
    pub(crate) fn section(&mut self, section: u32, bytes: &[u8]) -> Result<(), IndexError> {
        self.begin(section);
        self.append(bytes)
    }

    /// Writes checksums and footer, syncs, and returns the file's length.
    pub(crate) fn finish(mut self) -> Result<u64, IndexError> {
        if self.in_page > 0 {
            self.pages.push(self.hasher.digest());
        }
        let mut tail = Vec::with_capacity(self.pages.len() * 8 + self.sections.len() * 20 + TAIL);
        for page in &self.pages {
            tail.extend_from_slice(&page.to_le_bytes());
        }
        for (section, offset, length) in &self.sections {
            tail.extend_from_slice(&section.to_le_bytes());
            tail.extend_from_slice(&offset.to_le_bytes());
            tail.extend_from_slice(&length.to_le_bytes());
        }
        tail.extend_from_slice(&self.length.to_le_bytes());
        tail.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        tail.extend_from_slice(&FORMAT.to_le_bytes());
        tail.extend_from_slice(&xxh3_64(&tail).to_le_bytes());
        tail.extend_from_slice(MAGIC);
        self.write(&tail)?;
        self.file.sync_all().map_err(IndexError::io("cannot sync", &self.path))?;
        self.finished = true;
        Ok(self.length + tail.len() as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        fail::fail_point!("segment-write", |_| Err(IndexError::io("cannot write", &self.path)(
            std::io::ErrorKind::StorageFull.into()
        )));
        self.file.write_all(bytes).map_err(IndexError::io("cannot write", &self.path))
    }

    fn hash(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let take = bytes.len().min(PAGE - self.in_page);
            self.hasher.update(&bytes[..take]);
            self.in_page += take;
            bytes = &bytes[take..];
            if self.in_page == PAGE {
                self.pages.push(self.hasher.digest());
                self.hasher.reset();
                self.in_page = 0;
            }
        }
    }
}

/// Asks the kernel to start writing a range back; advisory, so its failure does not matter.
fn start_writeback(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: a plain system call on a file descriptor that `file` keeps open.
        unsafe {
            libc::sync_file_range(
                file.as_raw_fd(),
                offset as libc::off64_t,
                length as libc::off64_t,
                libc::SYNC_FILE_RANGE_WRITE,
            );
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// A file of sections, mapped.
pub(crate) struct SectionFile {
    map: Mmap,
    path: PathBuf,
    sections: Vec<(u32, Range<usize>)>,
    /// Offset of the page checksums, which is where the sections end.
    data: usize,
    verified: Vec<AtomicU64>,
}

impl SectionFile {
    /// Maps the file and checks its footer.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = File::open(path).map_err(IndexError::io("cannot open", path))?;
        // SAFETY: the file is immutable once it has its name: written, synced and renamed by this
        // crate alone, under the lock on the data folder, and unlinked, never truncated.
        let map = unsafe { Mmap::map(&file) }.map_err(IndexError::io("cannot map", path))?;
        let damaged =
            |detail: &str| IndexError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
        let end = map.len();
        if end < TAIL || &map[end - 8..] != MAGIC {
            return Err(damaged("no footer"));
        }
        let number =
            |at: usize| u32::from_le_bytes([map[at], map[at + 1], map[at + 2], map[at + 3]]);
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        let format = number(end - 20);
        let count = number(end - 24) as usize;
        let data = long(end - 32) as usize;
        if data > end - TAIL || xxh3_64(&map[data..end - 16]) != long(end - 16) {
            return Err(damaged("the footer's checksum does not fit"));
        }
        if format > FORMAT {
            return Err(IndexError::Format { path: path.to_owned(), found: format, known: FORMAT });
        }
        let pages = data.div_ceil(PAGE);
        let table = data + pages * 8;
        if table + count * SECTION_ENTRY + TAIL != end {
            return Err(damaged("the section table has another length"));
        }
        let sections = (0..count)
            .map(|index| {
                let at = table + index * SECTION_ENTRY;
                let offset = long(at + 4) as usize;
                (number(at), offset..offset + long(at + 12) as usize)
            })
            .collect();
        let verified = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { map, path: path.to_owned(), sections, data, verified })
    }

    /// Path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Range of a section in the file; empty where there is none.
    pub(crate) fn range(&self, section: u32) -> Range<usize> {
        self.sections
            .iter()
            .find(|(number, _)| *number == section)
            .map_or(0..0, |(_, range)| range.clone())
    }

    /// A section's bytes, verified.
    pub(crate) fn section(&self, section: u32) -> Result<&[u8], IndexError> {
        self.bytes(self.range(section))
    }

    /// Bytes of the file, verified.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Result<&[u8], IndexError> {
        if range.start > range.end || range.end > self.data {
            return Err(self.damaged(format!("bytes {range:?} are outside of its sections")));
        }
        if !range.is_empty() {
            for page in range.start / PAGE..=(range.end - 1) / PAGE {
                let mask = 1 << (page % 64);
                if self.verified[page / 64].load(Ordering::Relaxed) & mask == 0 {
                    self.verify(page)?;
                    self.verified[page / 64].fetch_or(mask, Ordering::Relaxed);
                }
            }
        }
        Ok(&self.map[range])
    }

    /// Lets go of mapped pages of a range that was read once: they stay in the system's cache, and
    /// are no longer this process's.
    pub(crate) fn release(&self, range: Range<usize>) {
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
        if start < end && end <= self.data {
            // SAFETY: the map is of an immutable file and shared: dropped pages read the same again.
            let released = unsafe {
                self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
            };
            if let Err(error) = released {
                tracing::debug!(%error, "mapped pages stay");
            }
        }
    }

    /// Bytes of the map that [`SectionFile::bytes`] has verified.
    pub(crate) fn mapped(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }

    /// Error for content of this file that does not fit.
    pub(crate) fn damaged(&self, detail: impl Into<String>) -> IndexError {
        IndexError::Damaged { path: self.path.clone(), detail: detail.into() }
    }

    /// Checks the whole of a file: its footer, and every page, read around the map.
    pub(crate) fn scrub(path: &Path) -> Result<(), IndexError> {
        Self::open(path)?.scrub_pages()
    }

    fn scrub_pages(&self) -> Result<(), IndexError> {
        let mut file = File::open(&self.path).map_err(IndexError::io("cannot open", &self.path))?;
        file.seek(SeekFrom::Start(0)).map_err(IndexError::io("cannot read", &self.path))?;
        let mut buffer = vec![0; PAGE];
        for page in 0..self.data.div_ceil(PAGE) {
            let length = PAGE.min(self.data - page * PAGE);
            file.read_exact(&mut buffer[..length])
                .map_err(IndexError::io("cannot read", &self.path))?;
            self.compare(page, xxh3_64(&buffer[..length]))?;
        }
        Ok(())
    }

    fn verify(&self, page: usize) -> Result<(), IndexError> {
        let start = page * PAGE;
        self.compare(page, xxh3_64(&self.map[start..self.data.min(start + PAGE)]))
    }

    fn compare(&self, page: usize, hash: u64) -> Result<(), IndexError> {
        let at = self.data + page * 8;
        if self.map[at..at + 8] == hash.to_le_bytes() {
            return Ok(());
        }
        Err(self.damaged(format!("page {page} does not have its checksum")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(path: &Path) {
        let mut writer = SectionWriter::create(path).unwrap();
        writer.section(1, &[7; 100_000]).unwrap();
        writer.begin(2);
        writer.append(b"two").unwrap();
        writer.append(b" parts").unwrap();
        writer.section(3, b"").unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn sections_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path);
        let file = SectionFile::open(&path).unwrap();
        assert_eq!(file.section(1).unwrap(), &[7; 100_000][..]);
        assert_eq!(file.section(2).unwrap(), b"two parts");
        assert_eq!(file.section(3).unwrap(), b"");
        assert_eq!(file.section(9).unwrap(), b"");
        SectionFile::scrub(&path).unwrap();
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path);
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(997).chain(good.len() - 120..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let other = folder.path().join(format!("b{at}"));
            std::fs::write(&other, bad).unwrap();
            let found = SectionFile::open(&other).and_then(|file| {
                file.section(1)?;
                file.section(2).map(drop)
            });
            assert!(found.is_err(), "byte {at}");
            std::fs::remove_file(other).unwrap();
        }
    }
}
