//! What a node says of itself.

use std::collections::BTreeMap;

use thiserror::Error;

use super::group::{self, GroupFacts};
use super::restores::{self, Restoring};
use super::{keys, sizes};
use crate::name::ShardId;

/// Bytes of an address that is read, at most: a DNS name, a colon and a port, and a scheme.
const MAX_ADDRESS: usize = 300;
/// Bytes of a version or a zone that is read, at most.
const MAX_WORD: usize = 128;
/// The capacity that is believed, at most: a hundred usual nodes.
const MAX_CAPACITY: u32 = 10_000;
/// The load that is believed, at most: a hundred times busy.
const MAX_LOAD: u32 = 100_000;
/// Steps in which the free part of a disk is told.
const DISK_STEPS: u64 = 1_024;

/// What a node says of itself. Everything but the addresses, the Raft id, the version and the zone
/// changes while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `host:port` of its HTTP API.
    pub http: String,
    /// `host:port` of its calls between nodes.
    pub grpc: String,
    /// The Raft id of its disk; 0 for none.
    pub raft_id: u64,
    /// What it does in the Raft group.
    pub group: GroupFacts,
    /// The program's version.
    pub version: String,
    /// Where it stands, such as an availability zone.
    pub zone: Option<String>,
    /// How much it takes, in percent of a usual node.
    pub capacity: u32,
    /// Whether it answers requests.
    pub ready: bool,
    /// Whether it hands over what it owns.
    pub draining: bool,
    /// Version of the newest shard map that it has.
    pub map_version: u64,
    /// How busy it is, in thousandths.
    pub load_permille: u32,
    /// Bytes of its disk.
    pub disk_total: u64,
    /// Bytes of its disk that are free; peers know it in steps of about a thousandth of the disk.
    pub disk_free: u64,
    /// How many shards it serves.
    pub shards_serving: u32,
    /// Bytes of the shards that it owns; peers know them within 2.2%.
    pub shard_bytes: BTreeMap<ShardId, u64>,
    /// Bytes of the shards that it owns and can only have searched, as the database does not answer it; peers know
    /// them within 2.2%.
    pub read_only_bytes: BTreeMap<ShardId, u64>,
    /// Shards that it brings to its disk, and how far it is; peers know a few of them.
    pub restores: BTreeMap<ShardId, Restoring>,
}

/// A value that no node of ours gossips.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{value}` is no value for `{key}` in the gossip")]
pub struct BadFact {
    key: String,
    value: String,
}

impl BadFact {
    fn new(key: &str, value: &str) -> Self {
        // What is hostile may be long, too.
        let short = |text: &str| text.escape_debug().take(80).collect();
        Self { key: short(key), value: short(value) }
    }
}

impl Facts {
    /// The keys and values to gossip. The addresses come last: chitchat tells peers of values in the
    /// order in which they were set, so whoever knows those knows the rest.
    pub(super) fn entries(&self) -> Vec<(String, String)> {
        let flag = |is: bool| if is { "1" } else { "0" }.to_owned();
        let step = (self.disk_total / DISK_STEPS).max(1);
        let sizes = blocks_of(keys::SHARD_SIZES, &self.shard_bytes)
            .chain(blocks_of(keys::READ_ONLY_SIZES, &self.read_only_bytes));
        let rest = [
            (keys::RAFT_ID, self.raft_id.to_string()),
            (keys::RAFT_GROUP, group::write(self.group)),
            (keys::VERSION, self.version.clone()),
            (keys::ZONE, self.zone.clone().unwrap_or_default()),
            (keys::CAPACITY, self.capacity.to_string()),
            (keys::READY, flag(self.ready)),
            (keys::DRAINING, flag(self.draining)),
            (keys::MAP_VERSION, self.map_version.to_string()),
            (keys::LOAD, self.load_permille.to_string()),
            (keys::DISK_TOTAL, self.disk_total.to_string()),
            (keys::DISK_FREE, (self.disk_free / step * step).to_string()),
            (keys::SHARDS_SERVING, self.shards_serving.to_string()),
            (keys::RESTORES, restores::write(&self.restores)),
            (keys::HTTP, self.http.clone()),
            (keys::GRPC, self.grpc.clone()),
        ];
        sizes.chain(rest.map(|(key, value)| (key.to_owned(), value))).collect()
    }

    /// As [`Self::entries`], when peers would take them all.
    pub(super) fn checked_entries(&self) -> Result<Vec<(String, String)>, BadFact> {
        let entries = self.entries();
        let mut read = Self::default();
        entries.iter().try_for_each(|(key, value)| read.take(key, value))?;
        Ok(entries)
    }

    /// As [`Self::entries`], with empty sizes for the blocks of shards that were gossiped before and
    /// have none now.
    pub(super) fn entries_to_replace<'a>(
        &self,
        before: impl Iterator<Item = &'a str>,
    ) -> Vec<(String, String)> {
        let entries = self.entries();
        let is_gone = |key: &&str| {
            let is_block =
                [keys::SHARD_SIZES, keys::READ_ONLY_SIZES].iter().any(|kind| key.starts_with(kind));
            is_block && !entries.iter().any(|(now, _)| now == key)
        };
        let gone: Vec<_> =
            before.filter(is_gone).map(|key| (key.to_owned(), String::new())).collect();
        gone.into_iter().chain(entries).collect()
    }

    /// Takes in a value that a node gossips; unknown keys are ignored.
    ///
    /// # Errors
    /// [`BadFact`] for what no node of ours gossips; nothing has changed then.
    pub fn take(&mut self, key: &str, value: &str) -> Result<(), BadFact> {
        self.read(key, value).ok_or_else(|| BadFact::new(key, value))
    }

    fn read(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            keys::HTTP => self.http = word(value, MAX_ADDRESS)?,
            keys::GRPC => self.grpc = word(value, MAX_ADDRESS)?,
            keys::RAFT_ID => self.raft_id = number(value, u64::MAX)?,
            keys::RAFT_GROUP => self.group = group::read(value)?,
            keys::VERSION => self.version = word(value, MAX_WORD)?,
            keys::ZONE if value.is_empty() => self.zone = None,
            keys::ZONE => self.zone = Some(word(value, MAX_WORD)?),
            keys::CAPACITY => self.capacity = number(value, MAX_CAPACITY)?,
            keys::READY => self.ready = flag(value)?,
            keys::DRAINING => self.draining = flag(value)?,
            keys::MAP_VERSION => self.map_version = number(value, u64::MAX)?,
            keys::LOAD => self.load_permille = number(value, MAX_LOAD)?,
            keys::DISK_TOTAL => self.disk_total = number(value, u64::MAX)?,
            keys::DISK_FREE => self.disk_free = number(value, u64::MAX)?,
            keys::SHARDS_SERVING => self.shards_serving = number(value, u32::MAX)?,
            keys::RESTORES => self.restores = restores::read(value)?,
            _ => self.read_sizes(key, value)?,
        }
        Some(())
    }

    fn read_sizes(&mut self, key: &str, value: &str) -> Option<()> {
        let kinds = [
            (keys::SHARD_SIZES, &mut self.shard_bytes),
            (keys::READ_ONLY_SIZES, &mut self.read_only_bytes),
        ];
        for (kind, known) in kinds {
            let Some(block) = key.strip_prefix(kind) else { continue };
            let block: u32 = number(block, sizes::MAX_BLOCKS - 1)?;
            let read = sizes::read(block, value)?;
            let within = sizes::block(block);
            known.retain(|shard, _| !within.contains(shard));
            known.extend(read);
        }
        Some(())
    }

    /// Whether enough is known to talk to the node.
    pub(super) fn complete(&self) -> bool {
        !self.http.is_empty() && !self.grpc.is_empty()
    }
}

/// Sizes of shards by block, as they are gossiped.
fn blocks_of(
    kind: &'static str,
    sizes: &BTreeMap<ShardId, u64>,
) -> impl Iterator<Item = (String, String)> + use<> {
    sizes::write(sizes).into_iter().map(move |(block, text)| (format!("{kind}{block}"), text))
}

/// A word of ASCII that is no control character: it goes into logs, tables and URLs.
fn word(value: &str, longest: usize) -> Option<String> {
    let good = !value.is_empty()
        && value.len() <= longest
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\`".contains(&byte));
    good.then(|| value.to_owned())
}

/// A number as Rust writes it: no sign, no leading zeros.
pub(super) fn number<T>(value: &str, largest: T) -> Option<T>
where
    T: std::str::FromStr + PartialOrd,
{
    let canonical = value == "0" || !value.starts_with(['0', '+', '-']);
    let number = value.parse().ok().filter(|_| canonical)?;
    (number <= largest).then_some(number)
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn facts() -> Facts {
        Facts {
            http: "10.0.0.1:8080".into(),
            grpc: "[2001:db8::1]:9090".into(),
            raft_id: u64::MAX,
            group: GroupFacts { term: 3, votes: true, leads: false, committed: 8 },
            version: "1.2.3+abc".into(),
            zone: Some("eu-1a".into()),
            capacity: 150,
            ready: true,
            draining: true,
            map_version: 77,
            load_permille: 1_500,
            disk_total: 1 << 40,
            disk_free: 1 << 39,
            shards_serving: 3,
            shard_bytes: [(ShardId(1), 1 << 30), (ShardId(900), 0)].into(),
            read_only_bytes: [(ShardId(2), 1 << 20)].into(),
            restores: [(ShardId(7), Restoring { done: 5, total: 9, elapsed_ms: 12 })].into(),
        }
    }

    fn read(entries: &[(String, String)]) -> Facts {
        let mut facts = Facts::default();
        entries.iter().for_each(|(key, value)| facts.take(key, value).unwrap());
        facts
    }

    #[test]
    fn what_is_gossiped_is_read() {
        assert_eq!(read(&facts().entries()), facts());
        let zoneless = Facts { zone: None, ..facts() };
        assert_eq!(read(&zoneless.entries()), zoneless);
    }

    #[test]
    fn a_disk_that_fills_slowly_is_told_of_seldom() {
        let told = |free| read(&Facts { disk_free: free, ..facts() }.entries()).disk_free;
        let values: std::collections::BTreeSet<u64> =
            (0..1_000).map(|n| told((1 << 39) + n * 4_096)).collect();
        assert_eq!(values.len(), 1);
        assert!(told(1 << 39).abs_diff(told(1 << 38)) == 1 << 38);
    }

    #[test]
    fn hostile_values_change_nothing() {
        let long = "x".repeat(301);
        let bad = [
            (keys::HTTP, ""),
            (keys::HTTP, long.as_str()),
            (keys::GRPC, "a b:1"),
            (keys::GRPC, "a\n:1"),
            (keys::VERSION, "1.0\u{202e}"),
            (keys::VERSION, "<script>"),
            (keys::RAFT_ID, "18446744073709551616"),
            (keys::RAFT_ID, "-1"),
            (keys::RAFT_ID, "+1"),
            (keys::RAFT_ID, "01"),
            (keys::MAP_VERSION, ""),
            (keys::CAPACITY, "10001"),
            (keys::LOAD, "4294967295"),
            (keys::READY, "true"),
            (keys::DISK_FREE, "1e9"),
            ("shards.sizes.0", "00"),
            ("shards.sizes.256", "0000"),
            ("shards.sizes.x", "0000"),
            ("shards.read-only.256", "0000"),
            (keys::RESTORES, "1:2:3"),
            (keys::RAFT_GROUP, "1:yes:no:1"),
        ];
        for (key, value) in bad {
            let mut facts = facts();
            let error = facts.take(key, value).unwrap_err().to_string();
            assert_eq!(facts, self::facts(), "{key}: {value}");
            assert!(error.len() < 400 && !error.contains('\n'), "{error}");
        }
        let mut facts = facts();
        facts.take("of a later version", &long).unwrap();
        assert_eq!(facts, self::facts());
    }

    #[test]
    fn sizes_of_a_block_replace_those_before() {
        let mut facts = facts();
        facts.take("shards.sizes.0", "0200").unwrap();
        let kept: Vec<u32> = facts.shard_bytes.keys().map(|shard| shard.0).collect();
        assert_eq!(kept, [2, 900]);
        assert_eq!(facts.read_only_bytes, self::facts().read_only_bytes);
    }
}
