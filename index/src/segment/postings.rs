//! The lists of a segment: for each gram, the units that hold it.
//!
//! Three sections: the grams, ascending, 4 bytes each; beside each gram 4 bytes that are either
//! one unit (top bit set) or an offset in the third; the lists. A list starts with
//! `count << 1 | dense` as a varint. A dense one (more than a sixth of the units) is a bitmap.
//! Another one is blocks of 128 units, each a bit width and that many bits a distance (the
//! `bitpacking` crate's strictly sorted form), and the rest as varint distances.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitpacking::{BitPacker, BitPacker4x};

use super::file::{SectionFile, SectionWriter};
use super::grams::{PARTITIONS, Run, RunCursor, read_varint, write_varint};
use crate::IndexError;
use crate::bits::Bits;

const INLINE: u32 = 1 << 31;
/// A gram in more than one unit of this many is a bitmap.
const DENSE: u32 = 6;
const BLOCK: usize = BitPacker4x::BLOCK_LEN;

/// Numbers of the three sections that hold lists.
#[derive(Clone, Copy)]
pub(crate) struct ListSections {
    pub(crate) grams: u32,
    pub(crate) places: u32,
    pub(crate) lists: u32,
}

/// Runs waiting to be merged, in a file without a name so that nothing is left after a crash.
pub(crate) struct RunFile {
    file: File,
    path: PathBuf,
    length: u64,
    runs: Vec<StoredRun>,
}

struct StoredRun {
    offset: u64,
    partitions: [u32; PARTITIONS + 1],
    base: u32,
}

impl RunFile {
    /// An empty file in the folder.
    pub(crate) fn create(folder: &Path) -> Result<Self, IndexError> {
        let file =
            unnamed_file(folder).map_err(IndexError::io("cannot create a file in", folder))?;
        Ok(Self { file, path: folder.to_owned(), length: 0, runs: Vec::new() })
    }

    /// Stores a run whose first unit is `base`; runs come in ascending order of it.
    pub(crate) fn push(&mut self, run: &Run, base: u32) -> Result<(), IndexError> {
        self.file.write_all(&run.bytes).map_err(IndexError::io("cannot write to", &self.path))?;
        self.runs.push(StoredRun { offset: self.length, partitions: run.partitions, base });
        self.length += run.bytes.len() as u64;
        Ok(())
    }

    /// Merges the runs into lists, on `threads` threads.
    pub(crate) fn merge(&self, units: u32, threads: usize) -> Result<Lists, IndexError> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Option<Result<Lists, IndexError>>>> =
            Mutex::new((0..PARTITIONS).map(|_| None).collect());
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let partition = next.fetch_add(1, Ordering::Relaxed);
                        if partition >= PARTITIONS {
                            break;
                        }
                        let lists = self.merge_partition(partition, units);
                        lock(&done)[partition] = Some(lists);
                    }
                });
            }
        });
        let mut all = Lists::default();
        for part in lock(&done).drain(..).flatten() {
            all.append(part?)?;
        }
        Ok(all)
    }

    fn merge_partition(&self, partition: usize, units: u32) -> Result<Lists, IndexError> {
        let mut parts = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let (from, to) = (run.partitions[partition], run.partitions[partition + 1]);
            let mut bytes = vec![0; (to - from) as usize];
            self.file
                .read_exact_at(&mut bytes, run.offset + u64::from(from))
                .map_err(IndexError::io("cannot read from", &self.path))?;
            parts.push((bytes, run.base));
        }
        let mut cursors: Vec<_> =
            parts.iter().map(|(bytes, base)| RunCursor::new(bytes, partition, *base)).collect();
        let mut lists = Lists::default();
        let mut list = Vec::new();
        while let Some(gram) = cursors.iter().filter_map(|cursor| cursor.gram).min() {
            list.clear();
            for cursor in &mut cursors {
                if cursor.gram == Some(gram) {
                    cursor.take(&mut list);
                }
            }
            lists.push(gram, &list, units);
        }
        Ok(lists)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn unnamed_file(folder: &Path) -> std::io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let unnamed = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(folder);
        // Some file systems cannot; a named file that is unlinked at once does the same.
        if unnamed.is_ok() {
            return unnamed;
        }
    }
    let path = folder.join(format!("tmp-{}", uuid::Uuid::new_v4()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// Lists on their way into a segment.
#[derive(Default)]
pub(crate) struct Lists {
    grams: Vec<u32>,
    places: Vec<u32>,
    bytes: Vec<u8>,
}

impl Lists {
    fn push(&mut self, gram: u32, list: &[u32], units: u32) {
        self.grams.push(gram);
        if let [unit] = list {
            self.places.push(INLINE | unit);
            return;
        }
        self.places.push(self.bytes.len() as u32);
        encode(list, units, &mut self.bytes);
    }

    fn append(&mut self, other: Self) -> Result<(), IndexError> {
        let base = self.bytes.len();
        // A segment has at most 2^16 units, far too few for its lists to reach 2 GiB.
        debug_assert!(base + other.bytes.len() < INLINE as usize);
        self.grams.extend(other.grams);
        self.places.extend(
            other
                .places
                .into_iter()
                .map(|place| if place & INLINE == 0 { place + base as u32 } else { place }),
        );
        self.bytes.extend(other.bytes);
        Ok(())
    }

    /// Writes the three sections.
    pub(crate) fn write(
        &self,
        writer: &mut SectionWriter,
        sections: ListSections,
    ) -> Result<(), IndexError> {
        writer.section(sections.grams, &little_endian(&self.grams))?;
        writer.section(sections.places, &little_endian(&self.places))?;
        writer.section(sections.lists, &self.bytes)
    }
}

/// Numbers as 4 bytes each, low byte first.
pub(crate) fn little_endian(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn encode(list: &[u32], units: u32, bytes: &mut Vec<u8>) {
    let dense = list.len() as u32 > units / DENSE;
    write_varint(bytes, (list.len() as u32) << 1 | u32::from(dense));
    if dense {
        let start = bytes.len();
        bytes.resize(start + units.div_ceil(8) as usize, 0);
        for unit in list {
            bytes[start + (unit / 8) as usize] |= 1 << (unit % 8);
        }
        return;
    }
    let packer = BitPacker4x::new();
    let mut before = None;
    let blocks = list.chunks_exact(BLOCK);
    let rest = blocks.remainder();
    for block in blocks {
        let width = packer.num_bits_strictly_sorted(before, block);
        bytes.push(width);
        let start = bytes.len();
        bytes.resize(start + BitPacker4x::compressed_block_size(width), 0);
        packer.compress_strictly_sorted(before, block, &mut bytes[start..], width);
        before = block.last().copied();
    }
    let mut last = before.unwrap_or(0);
    for unit in rest {
        write_varint(bytes, unit - last);
        last = *unit;
    }
}

/// The lists of an open segment.
pub(crate) struct ListReader<'a> {
    file: &'a SectionFile,
    grams: &'a [u8],
    places: &'a [u8],
    lists: std::ops::Range<usize>,
    units: u32,
}

/// Where a gram's list is.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// One unit.
    One(u32),
    /// A list with this many units, starting in the file here.
    List {
        /// Units in it.
        count: u32,
        /// Offset in the file.
        at: usize,
    },
}

impl Place {
    /// Units that hold the gram.
    pub(crate) fn count(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::List { count, .. } => *count,
        }
    }
}

impl<'a> ListReader<'a> {
    /// Opens the lists of `units` units.
    pub(crate) fn open(
        file: &'a SectionFile,
        sections: ListSections,
        units: u32,
    ) -> Result<Self, IndexError> {
        let reader = Self {
            file,
            grams: file.section(sections.grams)?,
            places: file.section(sections.places)?,
            lists: file.range(sections.lists),
            units,
        };
        if reader.grams.len() != reader.places.len() {
            return Err(file.damaged("grams and places differ in number"));
        }
        Ok(reader)
    }

    fn number(bytes: &[u8], index: usize) -> u32 {
        let at = index * 4;
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// Where the gram's list is; `None` where no unit holds it.
    pub(crate) fn find(&self, gram: u32) -> Result<Option<Place>, IndexError> {
        let (mut low, mut high) = (0, self.grams.len() / 4);
        while low < high {
            let middle = (low + high) / 2;
            if Self::number(self.grams, middle) < gram {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low * 4 >= self.grams.len() || Self::number(self.grams, low) != gram {
            return Ok(None);
        }
        let place = Self::number(self.places, low);
        if place & INLINE != 0 {
            return Ok(Some(Place::One(place & !INLINE)));
        }
        let at = self.lists.start + place as usize;
        let head = self.file.bytes(at..self.lists.end.min(at + 5))?;
        let mut rest = head;
        Ok(Some(Place::List { count: read_varint(&mut rest) >> 1, at }))
    }

    /// Adds the units of a list to a set; returns the bytes that were read.
    pub(crate) fn read(&self, place: Place, into: &mut Bits) -> Result<usize, IndexError> {
        let (count, at) = match place {
            Place::One(unit) => {
                self.check(unit)?;
                into.insert(unit);
                return Ok(0);
            }
            Place::List { count, at } => (count, at),
        };
        // No list is longer than its units as varints of three bytes, or a bitmap, and a header.
        let most = (count as usize * 4).max(self.units as usize / 8) + 512;
        let bytes = self.file.bytes(at..self.lists.end.min(at + most))?;
        let mut rest = bytes;
        let dense = read_varint(&mut rest) & 1 == 1;
        if dense {
            let length = self.units.div_ceil(8) as usize;
            let bitmap =
                rest.get(..length).ok_or_else(|| self.file.damaged("a list is cut short"))?;
            into.or_bytes(bitmap);
            return Ok(length);
        }
        let rest = self.read_packed(count as usize, rest, into)?;
        Ok(bytes.len() - rest.len())
    }

    fn read_packed<'b>(
        &self,
        count: usize,
        mut rest: &'b [u8],
        into: &mut Bits,
    ) -> Result<&'b [u8], IndexError> {
        let packer = BitPacker4x::new();
        let mut before = None;
        let mut block = [0; BLOCK];
        for _ in 0..count / BLOCK {
            let (width, packed) =
                rest.split_first().ok_or_else(|| self.file.damaged("a list is cut short"))?;
            let length = BitPacker4x::compressed_block_size(*width);
            if *width > 32 || packed.len() < length {
                return Err(self.file.damaged("a list is cut short"));
            }
            packer.decompress_strictly_sorted(before, packed, &mut block, *width);
            rest = &packed[length..];
            before = block.last().copied();
            for unit in block {
                self.check(unit)?;
                into.insert(unit);
            }
        }
        let mut last = before.unwrap_or(0);
        for _ in 0..count % BLOCK {
            last = last.wrapping_add(read_varint(&mut rest));
            self.check(last)?;
            into.insert(last);
        }
        Ok(rest)
    }

    fn check(&self, unit: u32) -> Result<(), IndexError> {
        if unit < self.units {
            return Ok(());
        }
        Err(self.file.damaged(format!("a list names unit {unit} of {}", self.units)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SECTIONS: ListSections = ListSections { grams: 1, places: 2, lists: 3 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lists_come_back(
            lists in prop::collection::btree_map(0u32..1 << 21, prop::collection::btree_set(0u32..3000, 1..900), 1..12)
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("lists");
            let mut all = Lists::default();
            for (gram, units) in &lists {
                all.push(*gram, &units.iter().copied().collect::<Vec<_>>(), 3000);
            }
            let mut writer = SectionWriter::create(&path).unwrap();
            all.write(&mut writer, SECTIONS).unwrap();
            writer.finish().unwrap();
            let file = SectionFile::open(&path).unwrap();
            let reader = ListReader::open(&file, SECTIONS, 3000).unwrap();
            for (gram, units) in &lists {
                let place = reader.find(*gram).unwrap().unwrap();
                prop_assert_eq!(place.count() as usize, units.len());
                let mut found = Bits::none(3000);
                reader.read(place, &mut found).unwrap();
                prop_assert_eq!(&found.iter().collect::<BTreeSet<_>>(), units);
            }
            prop_assert!(reader.find(1 << 21).unwrap().is_none());
        }
    }
}
