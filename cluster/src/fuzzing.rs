//! What the fuzz target of the network's input calls. Compiled for that and for tests.
//!
//! Whoever has the cluster's key may still be of another version, or mistaken: what is no message is
//! an error, never a panic, and what is one is written as it was read.

#![allow(clippy::expect_used)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::consensus::MAX_MESSAGE_BYTES;
use crate::consensus::fuzzing::{
    Append, AppendAnswer, Ballot, BallotAnswer, Chunk, ChunkAnswer, Envelope,
};
use crate::shard_map::{Command, Outcome, ShardMap};

/// Reads bytes as each kind of message.
///
/// # Panics
/// When one that can be read does not come back from what is written of it.
pub fn message(bytes: &[u8]) {
    read::<Envelope<Append>>(bytes);
    read::<Envelope<Ballot>>(bytes);
    read::<Envelope<Chunk>>(bytes);
    read::<AppendAnswer>(bytes);
    read::<BallotAnswer>(bytes);
    read::<ChunkAnswer>(bytes);
    read::<Outcome>(bytes);
    read::<Command>(bytes);
    if let Ok(mut map) = ShardMap::from_bytes(bytes) {
        assert_eq!(map.broken_invariant(), None);
        let members: Vec<_> = map.members().keys().cloned().collect();
        for node in members {
            map.apply(Command::Leave { node: node.clone() });
            map.apply(Command::Remove { node });
        }
        assert_eq!(map.broken_invariant(), None);
        let anew = map.made_anew(1, &Default::default());
        assert_eq!(anew.broken_invariant(), None);
    }
}

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes, MAX_MESSAGE_BYTES) else { return };
    let Ok(written) = codec::encode(&value, MAX_MESSAGE_BYTES) else { return };
    let again: T = codec::decode(&written, MAX_MESSAGE_BYTES).expect("it was written");
    let again = codec::encode(&again, MAX_MESSAGE_BYTES).expect("it fitted before");
    assert_eq!(again, written);
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_written_down_comes_back() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).expect("the fixtures") {
            let text = std::fs::read(file.expect("a fixture").path()).expect("its text");
            super::message(&[&[crate::codec::VERSION], &*text].concat());
            seen += 1;
        }
        assert!(seen > 20, "{seen} fixtures");
    }
}
