//! How values become bytes, on the wire between nodes and on their disks: one byte that says which
//! version follows, then JSON.
//!
//! Fields that are not known are ignored, so that a newer node may add some; a version that is not
//! known is refused by its number. Whatever comes in has a limit, and so has whatever goes out.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The version that this program writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// Bytes that are no value, or a value that is too large.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Not even a version.
    #[error("the message is empty")]
    Empty,
    /// Another program wrote it.
    #[error(
        "the message has version {found}, and this node reads version {VERSION}: do all nodes run \
         versions of the program that may run together?"
    )]
    UnknownVersion {
        /// The version that it has.
        found: u8,
    },
    /// More than was agreed on.
    #[error("a message may have {limit} bytes at most, and this has more ({bytes})")]
    TooLarge {
        /// Its bytes, as far as they were counted.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The version is known, what follows is not what that version says.
    #[error("the message cannot be read: {0}")]
    Malformed(String),
    /// A value that JSON has no form for, such as a map whose keys are no text.
    #[error("the message cannot be written: {0}")]
    NotEncodable(String),
    /// It can be read and contradicts itself.
    #[error("the message contradicts itself: {0}")]
    Contradiction(String),
}

/// Writes a value, if it takes no more than `limit` bytes.
///
/// # Errors
///
/// [`CodecError::TooLarge`] and [`CodecError::NotEncodable`].
pub fn encode<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Bounded { bytes: vec![VERSION], limit, over: 0 };
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => Ok(bytes.bytes),
        Err(_) if bytes.over > 0 => Err(CodecError::TooLarge { bytes: bytes.over, limit }),
        Err(error) => Err(CodecError::NotEncodable(error.to_string())),
    }
}

/// Reads a value from no more than `limit` bytes.
///
/// # Errors
///
/// Every [`CodecError`] but [`CodecError::NotEncodable`] and [`CodecError::Contradiction`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge { bytes: bytes.len(), limit });
    }
    match bytes.split_first() {
        None => Err(CodecError::Empty),
        Some((&VERSION, body)) => {
            serde_json::from_slice(body).map_err(|error| CodecError::Malformed(error.to_string()))
        }
        Some((&found, _)) => Err(CodecError::UnknownVersion { found }),
    }
}

/// Takes bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    /// How many there would have been when it said no.
    over: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let bytes = self.bytes.len() + more.len();
        if bytes > self.limit {
            self.over = bytes;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Known {
        name: String,
    }

    #[test]
    fn what_is_written_is_read() {
        let value = Known { name: "a\u{0}\u{10ffff}".to_owned() };
        let bytes = encode(&value, 100).unwrap();
        assert_eq!(bytes[0], VERSION);
        assert_eq!(decode::<Known>(&bytes, 100).unwrap(), value);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_versions_named() {
        let newer = b"\x01{\"name\":\"a\",\"since\":[1,{}]}";
        assert_eq!(decode::<Known>(newer, 100).unwrap(), Known { name: "a".to_owned() });
        assert_eq!(decode::<Known>(b"", 100), Err(CodecError::Empty));
        let error = decode::<Known>(b"\x07{}", 100).unwrap_err();
        assert_eq!(error, CodecError::UnknownVersion { found: 7 });
        assert!(error.to_string().contains("version 7"), "{error}");
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let value = Known { name: "x".repeat(50) };
        let length = encode(&value, 100).unwrap().len();
        assert_eq!(encode(&value, length).unwrap().len(), length);
        assert!(matches!(encode(&value, length - 1), Err(CodecError::TooLarge { .. })));
        let bytes = encode(&value, length).unwrap();
        let refused = decode::<Known>(&bytes, length - 1);
        assert_eq!(refused, Err(CodecError::TooLarge { bytes: length, limit: length - 1 }));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [&b"\x01"[..], b"\x01{", b"\x01{}", b"\x01{\"name\":1}", b"\x01\xff"] {
            assert!(matches!(decode::<Known>(bad, 100), Err(CodecError::Malformed(_))), "{bad:?}");
        }
        let deep = [&[VERSION][..], "[".repeat(100_000).as_bytes()].concat();
        assert!(matches!(
            decode::<serde_json::Value>(&deep, deep.len()),
            Err(CodecError::Malformed(_))
        ));
        let keys = BTreeMap::from([(vec![1], 1)]);
        assert!(matches!(encode(&keys, 100), Err(CodecError::NotEncodable(_))));
    }
}
