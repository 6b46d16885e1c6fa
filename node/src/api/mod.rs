//! What goes over the wire: the types that the HTTP handlers answer with, that `/openapi.json`
//! describes, and that the client commands read.

pub mod cluster;
pub mod problem;
pub mod repos;
pub mod result;
pub mod search;
pub mod zoekt;

use std::num::NonZeroU8;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

/// Bytes as JSON can hold them: a text, and the exact bytes in base64 where they are not UTF-8.
pub fn text_of(bytes: Vec<u8>) -> (String, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let bytes = error.into_bytes();
            (String::from_utf8_lossy(&bytes).into_owned(), Some(STANDARD.encode(&bytes)))
        }
    }
}

/// The exact bytes of what [`text_of`] wrote.
pub fn bytes_of(text: &str, base64: Option<&str>) -> Vec<u8> {
    base64
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .unwrap_or_else(|| text.as_bytes().to_vec())
}

/// A cursor of a list: the base64 of the last key of the page before.
pub fn encode_cursor(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// RFC 3339 to the millisecond: all times are equally long, and sort as text.
const MILLISECONDS: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) })
    .encode();

/// A time as the API writes it.
pub fn time_of(at: OffsetDateTime) -> String {
    // A time before year 0 or after 9999 has no RFC 3339 form; nothing here makes one.
    at.format(&Iso8601::<MILLISECONDS>).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_equally_long() {
        for (millis, text) in [(1_140, "1970-01-01T00:00:01.140Z"), (0, "1970-01-01T00:00:00.000Z")]
        {
            let at = OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(millis);
            assert_eq!(time_of(at), text);
        }
    }

    #[test]
    fn bytes_survive_whatever_they_are() {
        for bytes in [&b"plain"[..], b"", "äöü".as_bytes(), b"caf\xe9", b"\xff\x00"] {
            let (text, base64) = text_of(bytes.to_vec());
            assert_eq!(bytes_of(&text, base64.as_deref()), bytes);
            assert_eq!(base64.is_none(), std::str::from_utf8(bytes).is_ok());
        }
    }
}
