//! Where a page ends, as text that a client hands back.

use xxhash_rust::xxh3::xxh3_64;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A place in the results of one query on one state of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Hash of what was asked.
    pub(crate) request: u64,
    /// The share that the search has of all: its windows depend on it.
    pub(crate) share: u32,
    /// Candidates that were looked at before the window that the page ends in.
    pub(crate) window: u64,
    /// Results of that window that were returned.
    pub(crate) within: u64,
    /// Number and state of each shard.
    pub(crate) shards: Vec<(u32, u64)>,
}

/// The cursor of another place in the results that `cursor` belongs to, such as
/// [`Ranked`](super::Ranked) names; `None` when it is none.
pub fn cursor_at(cursor: &str, window: u64, within: u64) -> Option<String> {
    Some(Cursor { window, within, ..Cursor::decode(cursor)? }.encode())
}

/// The place, `window` and `within`, that a cursor stands at; `None` when it is none.
pub fn place_of(cursor: &str) -> Option<(u64, u64)> {
    Cursor::decode(cursor).map(|cursor| (cursor.window, cursor.within))
}

/// The shards that a cursor is about, each with a number that tells the states of a shard apart: equal in
/// two copies of one state. `None` when it is none.
pub fn states_of(cursor: &str) -> Option<Vec<(u32, u64)>> {
    Cursor::decode(cursor).map(|cursor| cursor.shards)
}

impl Cursor {
    /// As text: hexadecimal, with a checksum.
    pub(crate) fn encode(&self) -> String {
        let place = [self.request, u64::from(self.share), self.window, self.within];
        let shards = self.shards.iter().flat_map(|(shard, state)| [u64::from(*shard), *state]);
        let numbers = place.into_iter().chain(shards);
        let mut bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        bytes.extend_from_slice(&(xxh3_64(&bytes) as u32).to_le_bytes());
        let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// From text; `None` for what was never a cursor.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if !text.len().is_multiple_of(2) || !text.is_ascii() {
            return None;
        }
        let bytes: Vec<u8> = (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16))
            .collect::<Result<_, _>>()
            .ok()?;
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let (numbers, rest) = body.as_chunks::<8>();
        if (xxh3_64(body) as u32).to_le_bytes() != sum || !rest.is_empty() {
            return None;
        }
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let ([request, share, window, within], shards) = numbers.split_first_chunk()?;
        let (shards, rest) = shards.as_chunks::<2>();
        // Each once.
        if !rest.is_empty() || !shards.is_sorted_by(|a, b| a[0] < b[0]) {
            return None;
        }
        let shards =
            shards.iter().map(|[shard, state]| Some((u32::try_from(*shard).ok()?, *state)));
        Some(Self {
            request: *request,
            share: u32::try_from(*share).ok()?,
            window: *window,
            within: *within,
            shards: shards.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_do_not() {
        let shards = vec![(0, 1), (u32::MAX, u64::MAX)];
        let cursor = Cursor { request: 7, share: 2, window: 3, within: 50, shards };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text), Some(cursor.clone()));
        assert_eq!(place_of(&text), Some((3, 50)));
        assert_eq!(states_of(&text).as_ref(), Some(&cursor.shards));
        let moved = Cursor { window: 0, within: u64::MAX, ..cursor };
        assert_eq!(cursor_at(&text, 0, u64::MAX), Some(moved.encode()));
        for bad in ["", "zz", "00", &text[2..], &text.replace('0', "1"), "é"] {
            assert_eq!(Cursor::decode(bad), None, "{bad}");
            assert_eq!((place_of(bad), cursor_at(bad, 1, 2)), (None, None), "{bad}");
        }
    }
}
