//! What comes from the network: gossip, which is packets of strangers and values of members, and the
//! messages of other nodes.
#![no_main]

use std::time::Duration;

use aeterna_cluster::gossip::Facts;
use aeterna_cluster::gossip::seal::{ClusterKey, ClusterKeys, Opener, Sealer};
use aeterna_cluster::{codec, fuzzing};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const NOW: Duration = Duration::from_secs(1_795_219_200);
/// More than a datagram has.
const MOST: usize = 64 << 10;

fn keys() -> ClusterKeys {
    let current = ClusterKey::new(&[7; 32]).expect("it is long enough");
    ClusterKeys { current, other: None }
}

/// Nothing opens but what was sealed, once, and as it was.
fn packets(message: &[u8], hostile: &[u8], flips: &[(u16, u8)]) {
    let now = NOW.as_millis() as u64;
    let mut sealer = Sealer::new(&keys().current, Uuid::nil()).expect("there is randomness");
    let mut opener = Opener::new(&keys(), Uuid::nil());
    assert!(opener.open(hostile, now).is_err());
    let packets = sealer.seal(message, now).expect("it fits");
    for packet in &packets {
        let mut changed = packet.clone();
        for (place, bits) in flips {
            let place = usize::from(*place) % changed.len();
            changed[place] ^= bits;
        }
        assert!(changed == *packet || opener.open(&changed, now).is_err());
    }
    let opened = packets.iter().map(|packet| opener.open(packet, now).expect("it is ours"));
    assert_eq!(opened.last().flatten().as_deref(), Some(message));
    assert!(packets.iter().all(|packet| opener.open(packet, now).is_err()), "it came before");
}

/// A value is taken or changes nothing; what is taken is within bounds.
fn values(entries: &[(String, String)]) {
    let mut facts = Facts::default();
    for (key, value) in entries {
        let before = facts.clone();
        if let Err(error) = facts.take(key, value) {
            assert_eq!(facts, before);
            assert!(error.to_string().len() < 4_096);
        }
    }
    for word in [&facts.http, &facts.grpc, &facts.version] {
        assert!(word.len() <= 300 && word.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(facts.shard_bytes.len() <= 65_536 && facts.capacity <= 10_000);
    assert!(facts.restores.len() <= 8);
}

/// A message as a node sends it: a version, then JSON.
fn messages(hostile: &[u8]) {
    fuzzing::message(hostile);
    fuzzing::message(&[&[codec::VERSION], hostile].concat());
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<(u16, u8)>, Vec<(String, String)>)| {
    let (message, hostile, flips, entries) = input;
    messages(&message);
    if message.len().max(hostile.len()) <= MOST {
        packets(&message, &hostile, &flips);
    }
    values(&entries);
});
