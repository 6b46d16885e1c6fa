//! Reading objects of a mirror: packs first, then loose objects.
//!
//! gix's own store decodes the same bytes; this one exists as the index reads whole repositories:
//! it knows each object's place in its pack beforehand, has its size before it is inflated, and
//! reads on past damaged packs and objects.

use std::fs;
use std::path::{Path, PathBuf};

use aeterna_index::{ContentId, ReadError};
use gix::hash::{Kind as HashKind, ObjectId, oid};
use gix::objs::Kind;
use gix::odb::loose;
use gix::odb::pack::cache::DecodeEntry;
use gix::odb::pack::cache::lru::MemoryCappedHashmap;
use gix::odb::pack::data::decode::entry::ResolvedBase;
use gix::odb::pack::data::entry::Header;
use gix::odb::pack::{data, index};
use gix::zlib::Inflate;

use super::GitError;
use super::mapping::Mapping;

/// Bytes that decoding one object may allocate, whatever a pack's headers promise.
const ALLOCATION_LIMIT: usize = 3 << 30;
/// Bits of [`ObjectDb::locality`] that hold the offset in a pack; a pack of 1 TiB.
const OFFSET_BITS: u32 = 40;
/// Packs that a chain of deltas may lead through: in a sound mirror each has its bases itself.
const MAX_PACK_HOPS: u32 = 8;

struct Pack {
    index: index::File,
    data: data::File<Mapping>,
    mapping: Mapping,
}

/// The objects of one mirror.
pub struct ObjectDb {
    hash: HashKind,
    packs: Vec<Pack>,
    loose: loose::Store,
    /// Packs that could not be opened, with the reason.
    damaged: Vec<(PathBuf, String)>,
    cache_bytes: usize,
}

/// Where an object is.
#[derive(Clone, Copy)]
struct Place {
    pack: usize,
    offset: u64,
}

impl ObjectDb {
    /// Opens the objects folder of a mirror.
    ///
    /// # Errors
    /// When the folder cannot be listed. A pack that cannot be opened is left out.
    pub fn open(objects: &Path, hash: HashKind, cache_bytes: usize) -> Result<Self, GitError> {
        let mut db = Self {
            hash,
            packs: Vec::new(),
            loose: loose::Store::at(objects, hash),
            damaged: Vec::new(),
            cache_bytes: cache_bytes.max(1),
        };
        let folder = objects.join("pack");
        let mut indexes = Vec::new();
        for entry in fs::read_dir(&folder).map_err(GitError::io("cannot list", &folder))? {
            let path = entry.map_err(GitError::io("cannot list", &folder))?.path();
            if path.extension().is_some_and(|extension| extension == "idx") {
                indexes.push(path);
            }
        }
        indexes.sort();
        for path in indexes {
            match open_pack(&path, hash, db.packs.len()) {
                Ok(pack) => db.packs.push(pack),
                Err(reason) => db.damaged.push((path, reason)),
            }
        }
        // The largest pack holds most objects: look there first.
        db.packs.sort_by_key(|pack| std::cmp::Reverse(pack.index.num_objects()));
        Ok(db)
    }

    /// The mirror's object format.
    pub fn hash(&self) -> HashKind {
        self.hash
    }

    /// Packs that cannot be read, with the reason.
    pub fn damaged(&self) -> &[(PathBuf, String)] {
        &self.damaged
    }

    /// Number of packs.
    pub fn pack_count(&self) -> usize {
        self.packs.len()
    }

    /// A reader for one thread.
    pub fn reader(&self) -> ObjectReader<'_> {
        ObjectReader {
            db: self,
            inflate: Inflate::default(),
            cache: MemoryCappedHashmap::new(self.cache_bytes),
            last: 0,
            hops: 0,
        }
    }

    /// Position of an object: its pack and offset there, 0 for what is not in a pack.
    pub(crate) fn locality(&self, id: &oid) -> u64 {
        self.find(id, 0).map_or(0, |place| {
            ((place.pack as u64 + 1) << OFFSET_BITS) | (place.offset & ((1 << OFFSET_BITS) - 1))
        })
    }

    /// Looks in pack `first` before the others.
    fn find(&self, id: &oid, first: usize) -> Option<Place> {
        let order = (first..self.packs.len()).chain(0..first.min(self.packs.len()));
        order.into_iter().find_map(|number| {
            let index = &self.packs[number].index;
            let entry = index.lookup(id)?;
            Some(Place { pack: number, offset: index.pack_offset_at_index(entry) })
        })
    }
}

fn open_pack(index_path: &Path, hash: HashKind, number: usize) -> Result<Pack, String> {
    let pack_path = index_path.with_extension("pack");
    let index = index::File::at(index_path, hash).map_err(|error| error.to_string())?;
    let mapping = Mapping::open(&pack_path).map_err(|error| error.to_string())?;
    let mut data = data::File::from_data(mapping.clone(), pack_path, hash)
        .map_err(|error| error.to_string())?
        .with_alloc_limit_bytes(Some(ALLOCATION_LIMIT));
    data.id = number as u32;
    Ok(Pack { index, data, mapping })
}

/// Reads objects; one per thread.
pub struct ObjectReader<'a> {
    db: &'a ObjectDb,
    inflate: Inflate,
    cache: MemoryCappedHashmap,
    last: usize,
    hops: u32,
}

impl ObjectReader<'_> {
    /// Replaces `into` with the object's bytes and returns its kind.
    ///
    /// # Errors
    /// [`ReadError::Missing`], [`ReadError::TooLarge`] before anything is inflated, or
    /// [`ReadError::Corrupt`].
    pub fn read(&mut self, id: &oid, limit: u64, into: &mut Vec<u8>) -> Result<Kind, ReadError> {
        into.clear();
        match self.db.find(id, self.last) {
            Some(place) => {
                self.last = place.pack;
                self.read_packed(place, limit, into)
            }
            None => self.read_loose(id, limit, into),
        }
    }

    /// The object's kind and size, read from its header.
    ///
    /// # Errors
    /// As [`ObjectReader::read`].
    pub fn header(&mut self, id: &oid) -> Result<(Kind, u64), ReadError> {
        let Some(place) = self.db.find(id, self.last) else {
            return match self.db.loose.try_header(id) {
                Ok(Some((size, kind))) => Ok((kind, size)),
                Ok(None) => Err(ReadError::Missing),
                Err(error) => Err(corrupt(error)),
            };
        };
        let pack = &self.db.packs[place.pack];
        let entry = pack.data.entry(place.offset).map_err(corrupt)?;
        let resolve = |id: &oid| Ok(in_pack_header(pack, id));
        let header =
            pack.data.decode_header(entry, &mut self.inflate, &resolve).map_err(corrupt)?;
        Ok((header.kind, header.object_size))
    }

    fn read_packed(
        &mut self,
        place: Place,
        limit: u64,
        into: &mut Vec<u8>,
    ) -> Result<Kind, ReadError> {
        let db = self.db;
        let pack = &db.packs[place.pack];
        let entry = pack.data.entry(place.offset).map_err(corrupt)?;
        let size = match entry.header {
            Header::OfsDelta { .. } | Header::RefDelta { .. } => self.delta_result(pack, &entry)?,
            _ => entry.decompressed_size,
        };
        if size > limit {
            return Err(ReadError::TooLarge(size));
        }
        let hops = self.hops + 1;
        let resolve = |id: &oid, out: &mut Vec<u8>| Ok(db.resolve_base(pack, id, hops, out));
        let cache: &mut dyn DecodeEntry = &mut self.cache;
        let outcome = pack
            .data
            .decode_entry(entry, into, &mut self.inflate, &resolve, cache)
            .map_err(corrupt)?;
        into.truncate(usize::try_from(outcome.object_size).unwrap_or(usize::MAX));
        pack.mapping.count(place.offset, outcome.compressed_size as u64);
        Ok(outcome.kind)
    }

    /// Size of the object that a delta makes: its second number, right at its start.
    fn delta_result(&mut self, pack: &Pack, entry: &data::Entry) -> Result<u64, ReadError> {
        let mut start = [0; 32];
        let wanted = start.len().min(usize::try_from(entry.decompressed_size).unwrap_or(32));
        let end = pack.data.pack_end() as u64;
        let packed = pack.data.entry_slice(entry.data_offset..end);
        let packed = packed.ok_or_else(|| ReadError::Corrupt("it is cut off".to_owned()))?;
        self.inflate.reset();
        let (_, _, written) = self.inflate.prefix(packed, &mut start[..wanted]).map_err(corrupt)?;
        let mut bytes = start[..written].iter();
        let base = delta_number(&mut bytes);
        base.and_then(|_| delta_number(&mut bytes))
            .ok_or_else(|| ReadError::Corrupt("its delta has no size".to_owned()))
    }

    fn read_loose(&mut self, id: &oid, limit: u64, into: &mut Vec<u8>) -> Result<Kind, ReadError> {
        let (size, _) = match self.db.loose.try_header(id) {
            Ok(Some(header)) => header,
            Ok(None) => return Err(ReadError::Missing),
            Err(error) => return Err(corrupt(error)),
        };
        if size > limit {
            return Err(ReadError::TooLarge(size));
        }
        match self.db.loose.try_find(id, into) {
            Ok(Some(object)) => Ok(object.kind),
            Ok(None) => Err(ReadError::Missing),
            Err(error) => Err(corrupt(error)),
        }
    }
}

impl ObjectDb {
    /// The base of a delta that names it by id: in the same pack, or (where a source's packs are
    /// thin) anywhere.
    fn resolve_base(
        &self,
        pack: &Pack,
        id: &oid,
        hops: u32,
        out: &mut Vec<u8>,
    ) -> Option<ResolvedBase> {
        if let Some(entry) = pack.index.lookup(id) {
            let offset = pack.index.pack_offset_at_index(entry);
            return pack.data.entry(offset).ok().map(ResolvedBase::InPack);
        }
        if hops > MAX_PACK_HOPS {
            return None;
        }
        let mut object = Vec::new();
        let mut reader = self.reader();
        reader.hops = hops;
        let kind = reader.read(id, ALLOCATION_LIMIT as u64, &mut object).ok()?;
        out.clear();
        out.extend_from_slice(&object);
        Some(ResolvedBase::OutOfPack { kind, end: out.len() })
    }
}

fn in_pack_header(pack: &Pack, id: &oid) -> Option<data::decode::header::ResolvedBase> {
    let offset = pack.index.pack_offset_at_index(pack.index.lookup(id)?);
    pack.data.entry(offset).ok().map(data::decode::header::ResolvedBase::InPack)
}

/// A number of a delta's header: seven bits a byte, lowest first, the high bit says that more follow.
fn delta_number<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn corrupt(error: impl std::fmt::Display) -> ReadError {
    ReadError::Corrupt(error.to_string())
}

/// The object id of a content, if it is one of this format.
pub(crate) fn object_id(content: &ContentId) -> Option<ObjectId> {
    ObjectId::try_from(content.as_bytes()).ok()
}

/// The content id of an object.
pub(crate) fn content_id(id: &oid) -> Option<ContentId> {
    ContentId::from_bytes(id.as_bytes())
}
