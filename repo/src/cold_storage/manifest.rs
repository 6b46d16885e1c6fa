//! What a shard or mirror held at one moment: which local file is which object.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::layout::{self, Place, Position};
use super::{ColdError, hash_file, hex};

const FORMAT: u32 = 1;
/// Files that a manifest may name.
const MAX_FILES: usize = 1_000_000;

/// A file in cold storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdFile {
    /// Key of its object.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

impl ColdFile {
    /// Whether a file on this node's disk is the same.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() == self.bytes)
            && hash_file(path, self.bytes).is_ok_and(|hash| hash == self.sha256)
    }
}

/// What a shard or mirror held when it was uploaded, or that someone took the shard over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdManifest {
    format: u32,
    /// What it is about.
    pub place: Place,
    /// Where it stands among the manifests of the same.
    pub position: Position,
    /// Who wrote it: made anew each time that a shard is taken over.
    pub writer: Uuid,
    /// Where the same content was uploaded first: copies of it are made when it is taken over.
    pub origin: Position,
    /// Generation of a shard's index, as its writer counts.
    pub generation: u64,
    /// `None` for a fence, which says that a shard is taken over and nothing of what it holds.
    pub files: Option<BTreeMap<String, ColdFile>>,
}

impl ColdManifest {
    /// Says that a writer takes the shard over.
    pub(crate) fn fence(place: Place, position: Position, writer: Uuid) -> Self {
        Self {
            format: FORMAT,
            place,
            position,
            writer,
            origin: position,
            generation: 0,
            files: None,
        }
    }

    /// New content.
    pub(crate) fn uploaded(
        place: Place,
        position: Position,
        writer: Uuid,
        generation: u64,
        files: BTreeMap<String, ColdFile>,
    ) -> Self {
        Self { generation, files: Some(files), ..Self::fence(place, position, writer) }
    }

    /// The same content, taken over.
    pub(crate) fn adopted(&self, position: Position, writer: Uuid) -> Self {
        Self { position, writer, ..self.clone() }
    }

    /// The files; none for a fence.
    pub fn files(&self) -> impl Iterator<Item = (&String, &ColdFile)> {
        self.files.iter().flatten()
    }

    /// The same with only some of its files: what there is to fetch.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let files = self.files().filter(|(name, _)| wanted(name));
        let files = files.map(|(name, file)| (name.clone(), file.clone())).collect();
        Self { files: Some(files), ..self.clone() }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files().map(|(_, file)| file.bytes).fold(0, u64::saturating_add)
    }

    /// A line with the checksum of the second line, which is the manifest.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ColdError> {
        let key = layout::manifest(self.place, self.position);
        let body = serde_json::to_vec(self)
            .map_err(|error| ColdError::Damaged { key, detail: error.to_string() })?;
        let sum = hex(digest(&SHA256, &body).as_ref());
        let mut bytes = format!("{{\"sha256\":\"{sum}\"}}\n").into_bytes();
        bytes.extend_from_slice(&body);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads what was at a position; nothing of it is believed before it was checked.
    pub(crate) fn decode(place: Place, at: Position, bytes: &[u8]) -> Result<Self, ColdError> {
        #[derive(Deserialize)]
        struct Sum {
            sha256: String,
        }
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let key = layout::manifest(place, at);
        let damaged = |detail: String| ColdError::Damaged { key: key.clone(), detail };
        let cut = bytes.iter().position(|byte| *byte == b'\n');
        let cut = cut.ok_or_else(|| damaged("it is cut off".to_owned()))?;
        let body = bytes[cut + 1..].trim_ascii_end();
        let sum: Sum =
            serde_json::from_slice(&bytes[..cut]).map_err(|error| damaged(error.to_string()))?;
        if sum.sha256 != hex(digest(&SHA256, body).as_ref()) {
            return Err(damaged("its checksum does not fit".to_owned()));
        }
        let Format { format } =
            serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
        if format > FORMAT {
            return Err(ColdError::Format { key, found: format, known: FORMAT });
        }
        let manifest: Self =
            serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
        manifest.check(place, at).map_err(damaged)?;
        Ok(manifest)
    }

    fn check(&self, place: Place, at: Position) -> Result<(), String> {
        if (self.place, self.position) != (place, at) {
            return Err(format!("it is that of {}, {}", self.place, self.position));
        }
        if self.files.as_ref().is_some_and(|files| files.len() > MAX_FILES) {
            return Err(format!("it names more than {MAX_FILES} files"));
        }
        for (name, file) in self.files() {
            let is_hash =
                file.sha256.len() == 64 && file.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !layout::is_file_name(name)
                || !is_hash
                || layout::epoch_of_file(place, &file.key).is_none_or(|epoch| epoch > at.epoch)
            {
                let name: String = name.chars().take(64).collect();
                return Err(format!("it names {name:?}, which none of its files is called"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLACE: Place = Place::Shard(3);
    const AT: Position = Position { epoch: 2, sequence: 7 };

    fn sample(name: &str, key: &str) -> ColdManifest {
        let file = ColdFile { key: key.to_owned(), bytes: 3, sha256: "ab".repeat(32) };
        let files = BTreeMap::from([(name.to_owned(), file)]);
        ColdManifest::uploaded(PLACE, AT, Uuid::from_u128(1), 5, files)
    }

    #[test]
    fn what_was_written_is_read_and_every_changed_byte_is_seen() {
        let manifest = sample("a", &layout::file(PLACE, 2, "a", &"ab".repeat(32)));
        let bytes = manifest.encode().unwrap();
        assert_eq!(ColdManifest::decode(PLACE, AT, &bytes).unwrap(), manifest);
        for at in 0..bytes.len() - 1 {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(ColdManifest::decode(PLACE, AT, &changed).is_err(), "byte {at}");
            assert!(ColdManifest::decode(PLACE, AT, &bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(ColdManifest::decode(Place::Shard(4), AT, &bytes).is_err());
        assert!(ColdManifest::decode(PLACE, AT.next(), &bytes).is_err());
    }

    #[test]
    fn hostile_names_and_later_formats_are_refused() {
        let good = layout::file(PLACE, 2, "a", &"ab".repeat(32));
        for (name, key) in [
            ("../../etc/passwd", good.as_str()),
            ("a/b", &good),
            ("a", "cluster.json"),
            ("a", "shards/0003/files/../../x"),
            ("a", &layout::file(Place::Shard(4), 2, "a", "ab")),
            ("a", &layout::file(PLACE, 3, "a", "ab")),
        ] {
            let bytes = sample(name, key).encode().unwrap();
            let error = ColdManifest::decode(PLACE, AT, &bytes).unwrap_err();
            assert!(error.is_lost(), "{name} {key}: {error}");
        }
        let later = ColdManifest { format: FORMAT + 1, ..sample("a", &good) };
        let error = ColdManifest::decode(PLACE, AT, &later.encode().unwrap()).unwrap_err();
        assert!(matches!(error, ColdError::Format { found: 2, known: 1, .. }), "{error}");
    }
}
