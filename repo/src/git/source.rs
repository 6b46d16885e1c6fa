//! A mirror as the index's source of contents.

use aeterna_index::{ContentId, ContentReader, ContentSource, ReadError};
use gix::objs::Kind;

use super::objects::{ObjectDb, ObjectReader, object_id};

/// Reads blobs of a mirror for the index.
pub struct MirrorSource<'a> {
    objects: &'a ObjectDb,
}

impl<'a> MirrorSource<'a> {
    /// A source over the objects of a mirror.
    pub fn new(objects: &'a ObjectDb) -> Self {
        Self { objects }
    }
}

impl ContentSource for MirrorSource<'_> {
    fn reader(&self) -> Result<Box<dyn ContentReader + '_>, ReadError> {
        Ok(Box::new(BlobReader(self.objects.reader())))
    }

    fn locality(&self, id: &ContentId) -> u64 {
        object_id(id).map_or(0, |id| self.objects.locality(&id))
    }
}

struct BlobReader<'a>(ObjectReader<'a>);

impl ContentReader for BlobReader<'_> {
    fn read(&mut self, id: &ContentId, limit: u64, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let id = object_id(id).ok_or(ReadError::Missing)?;
        match self.0.read(&id, limit, into)? {
            Kind::Blob => Ok(()),
            kind => Err(ReadError::Corrupt(format!("it is a {kind}, where a file should be"))),
        }
    }
}
