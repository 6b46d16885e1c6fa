//! Where a page ends, as text that a client hands back.

use xxhash_rust::xxh3::xxh3_64;

/// A place in the results of one query on one state of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Hash of what was asked.
    pub(crate) request: u64,
    /// Commit of each shard.
    pub(crate) generations: Vec<u64>,
    /// Candidates that were looked at before the window that the page ends in.
    pub(crate) window: u64,
    /// Results of that window that were returned.
    pub(crate) within: u64,
}

impl Cursor {
    /// As text: hexadecimal, with a checksum.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::new();
        for number in [self.request, self.window, self.within].iter().chain(&self.generations) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(xxh3_64(&bytes) as u32).to_le_bytes());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        if (xxh3_64(body) as u32).to_le_bytes() != sum || !body.len().is_multiple_of(8) {
            return None;
        }
        let mut numbers = body.chunks_exact(8).map(|chunk| {
            chunk.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        });
        Some(Self {
            request: numbers.next()?,
            window: numbers.next()?,
            within: numbers.next()?,
            generations: numbers.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_do_not() {
        let cursor = Cursor { request: 7, generations: vec![1, u64::MAX], window: 3, within: 50 };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text), Some(cursor));
        for bad in ["", "zz", "00", &text[2..], &text.replace('0', "1"), "é"] {
            assert_eq!(Cursor::decode(bad), None, "{bad}");
        }
    }
}
