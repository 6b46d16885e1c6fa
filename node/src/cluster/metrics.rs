//! Metrics of the cluster.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aeterna_repo::RestoredMirrors;
use aeterna_repo::cold_storage::{ColdCounts, ColdOutcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Restores take from milliseconds (an empty shard) to minutes.
const RESTORE_BUCKETS: [f64; 11] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];
/// Nodes that one search asks.
const WIDTH_BUCKETS: [f64; 8] = [1.0, 2.0, 3.0, 5.0, 10.0, 25.0, 100.0, 500.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

/// What is counted and measured of the cluster.
#[derive(Debug)]
pub struct ClusterMetrics {
    forwards: Family<OutcomeLabels, Counter>,
    scatter_width: Histogram,
    parts: Family<OutcomeLabels, Counter>,
    hedges: Family<OutcomeLabels, Counter>,
    resumed: Counter,
    parts_running: Gauge,
    restores: Family<SourceLabels, Counter>,
    restored_bytes: Family<SourceLabels, Counter>,
    restore_duration: Family<SourceLabels, Histogram>,
    restore_failures: Counter,
    restored_mirrors: Family<SourceLabels, Counter>,
    restored_mirror_bytes: Counter,
    owner_changes: Counter,
    moves: Gauge,
    moves_ended: Family<OutcomeLabels, Counter>,
    elections: Counter,
    shards: Family<StateLabels, Gauge>,
    nodes: Family<StateLabels, Gauge>,
    oldest_heartbeat: Gauge<f64, std::sync::atomic::AtomicU64>,
    highest_phi: Gauge<f64, std::sync::atomic::AtomicU64>,
    term: Gauge,
    applied: Gauge,
    lag: Gauge,
    map_version: Gauge,
    not_uploaded: Gauge,
    oldest_upload: Gauge<f64, std::sync::atomic::AtomicU64>,
    cold_operations: Family<OperationLabels, Counter>,
    cold_bytes: Family<DirectionLabels, Counter>,
    cold_retries: Counter,
    replicas: Gauge,
    oldest_replica: Gauge<f64, std::sync::atomic::AtomicU64>,
    refused_packets: Family<ReasonLabels, Gauge>,
    refused_calls: Family<ReasonLabels, Gauge>,
}

fn restore_histogram() -> Histogram {
    Histogram::new(RESTORE_BUCKETS)
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self {
            forwards: Family::default(),
            scatter_width: Histogram::new(WIDTH_BUCKETS),
            parts: Family::default(),
            hedges: Family::default(),
            resumed: Counter::default(),
            parts_running: Gauge::default(),
            restores: Family::default(),
            restored_bytes: Family::default(),
            restore_duration: Family::new_with_constructor(restore_histogram),
            restore_failures: Counter::default(),
            restored_mirrors: Family::default(),
            restored_mirror_bytes: Counter::default(),
            owner_changes: Counter::default(),
            moves: Gauge::default(),
            moves_ended: Family::default(),
            elections: Counter::default(),
            shards: Family::default(),
            nodes: Family::default(),
            oldest_heartbeat: Gauge::default(),
            highest_phi: Gauge::default(),
            term: Gauge::default(),
            applied: Gauge::default(),
            lag: Gauge::default(),
            map_version: Gauge::default(),
            not_uploaded: Gauge::default(),
            oldest_upload: Gauge::default(),
            cold_operations: Family::default(),
            cold_bytes: Family::default(),
            cold_retries: Counter::default(),
            replicas: Gauge::default(),
            oldest_replica: Gauge::default(),
            refused_packets: Family::default(),
            refused_calls: Family::default(),
        }
    }
}

/// A part of another node's search that runs.
#[derive(Debug)]
pub struct PartRunning(Gauge);

impl Drop for PartRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is measured at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct ClusterGauges {
    /// Shards by state.
    pub shards: Vec<(&'static str, u64)>,
    /// Nodes by state.
    pub nodes: Vec<(&'static str, u64)>,
    /// Of the nodes that are alive, the oldest heartbeat.
    pub oldest_heartbeat: Duration,
    /// Of the nodes that are alive, the highest phi: how improbable it is that one still is.
    pub highest_phi: f64,
    /// Shards that are moved.
    pub moves: u64,
    /// How mirrors came back.
    pub mirrors: RestoredMirrors,
    /// Raft's term.
    pub term: u64,
    /// Position that this node has applied.
    pub applied: u64,
    /// Entries of its log that it has not applied.
    pub lag: u64,
    /// Version of the shard map.
    pub map_version: u64,
    /// Shards with a commit that cold storage lacks.
    pub not_uploaded: u64,
    /// The longest time that cold storage has lacked a commit of one of them.
    pub oldest_upload: Duration,
    /// What was asked of cold storage.
    pub cold: ColdCounts,
    /// Copies of other nodes' shards.
    pub replicas: u64,
    /// Of these, the longest time since one was last known to be up to date.
    pub oldest_replica: Duration,
    /// Gossip packets that were refused, by reason.
    pub refused_packets: Vec<(String, u64)>,
    /// Calls of other nodes that were refused, by reason.
    pub refused_calls: Vec<(String, u64)>,
}

impl ClusterMetrics {
    /// Makes them part of what is scraped.
    pub fn register(&self, to: &mut Registry) {
        to.register(
            "code_search_forwards",
            "Repository operations sent to the owner",
            self.forwards.clone(),
        );
        to.register(
            "code_search_scatter_width",
            "Nodes that a search asks",
            self.scatter_width.clone(),
        );
        to.register(
            "code_search_search_parts",
            "Nodes' parts of searches by how they ended",
            self.parts.clone(),
        );
        to.register(
            "code_search_parts_running",
            "Parts of other nodes' searches that run on this node",
            self.parts_running.clone(),
        );
        to.register(
            "code_search_hedges",
            "Slow nodes whose part of a search was asked of others too, by how that ended",
            self.hedges.clone(),
        );
        to.register(
            "code_search_search_parts_resumed",
            "Times that a node was asked for more of a page than it had sent at first",
            self.resumed.clone(),
        );
        to.register(
            "code_search_restores",
            "Shards brought back, by where from",
            self.restores.clone(),
        );
        to.register_with_unit(
            "code_search_restored",
            "Bytes of shards brought back, by where from",
            Unit::Bytes,
            self.restored_bytes.clone(),
        );
        to.register_with_unit(
            "code_search_restore_duration",
            "Time to bring a shard back, by where from",
            Unit::Seconds,
            self.restore_duration.clone(),
        );
        to.register(
            "code_search_restore_failures",
            "Attempts to bring a shard back that failed",
            self.restore_failures.clone(),
        );
        self.register_changes(to);
        to.register(
            "code_search_shards",
            "Shards by state, as this node sees them",
            self.shards.clone(),
        );
        to.register(
            "code_search_nodes",
            "Nodes by state, as this node sees them",
            self.nodes.clone(),
        );
        to.register_with_unit(
            "code_search_oldest_heartbeat",
            "Age of the oldest heartbeat of a node that is alive",
            Unit::Seconds,
            self.oldest_heartbeat.clone(),
        );
        to.register(
            "code_search_highest_phi",
            "Highest phi (how improbable it is that it still is) of a node that is alive",
            self.highest_phi.clone(),
        );
        to.register("code_search_raft_term", "Raft's term", self.term.clone());
        to.register(
            "code_search_raft_elections",
            "Leaders that this node has seen elected",
            self.elections.clone(),
        );
        to.register(
            "code_search_raft_applied",
            "Position that this node has applied",
            self.applied.clone(),
        );
        to.register(
            "code_search_raft_lag",
            "Entries of this node's log that it has not applied",
            self.lag.clone(),
        );
        to.register(
            "code_search_map_version",
            "Version of the shard map",
            self.map_version.clone(),
        );
        to.register(
            "code_search_shards_not_uploaded",
            "Shards of this node with a commit that cold storage lacks",
            self.not_uploaded.clone(),
        );
        self.register_cold(to);
        to.register(
            "code_search_replicas",
            "Copies that this node has of other nodes' shards",
            self.replicas.clone(),
        );
        to.register_with_unit(
            "code_search_oldest_replica",
            "Longest time since such a copy was last known to be up to date with cold storage",
            Unit::Seconds,
            self.oldest_replica.clone(),
        );
        to.register(
            "code_search_gossip_refused",
            "Gossip packets that were refused",
            self.refused_packets.clone(),
        );
        to.register(
            "code_search_calls_refused",
            "Calls of other nodes that were refused",
            self.refused_calls.clone(),
        );
    }

    fn register_changes(&self, to: &mut Registry) {
        to.register(
            "code_search_mirrors_restored",
            "Mirrors that came to this node again: from bundles in cold storage, or cloned from the remote",
            self.restored_mirrors.clone(),
        );
        to.register_with_unit(
            "code_search_mirrors_restored",
            "Bytes of bundles that mirrors were restored from",
            Unit::Bytes,
            self.restored_mirror_bytes.clone(),
        );
        to.register(
            "code_search_epoch_changes",
            "Times that this node has seen a shard get an owner under a new epoch",
            self.owner_changes.clone(),
        );
        to.register(
            "code_search_moves",
            "Shards that are being moved to another node",
            self.moves.clone(),
        );
        to.register(
            "code_search_moves_ended",
            "Moves that this node has seen end, by how",
            self.moves_ended.clone(),
        );
    }

    fn register_cold(&self, to: &mut Registry) {
        to.register_with_unit(
            "code_search_oldest_upload",
            "Longest time that cold storage has lacked a commit of this node's shards",
            Unit::Seconds,
            self.oldest_upload.clone(),
        );
        to.register(
            "code_search_cold_storage_operations",
            "What was asked of cold storage, by how it ended",
            self.cold_operations.clone(),
        );
        to.register_with_unit(
            "code_search_cold_storage",
            "Bytes of objects that were sent to cold storage (up) and fetched from it (down)",
            Unit::Bytes,
            self.cold_bytes.clone(),
        );
        to.register(
            "code_search_cold_storage_retries",
            "Attempts at cold storage that failed and were followed by another",
            self.cold_retries.clone(),
        );
    }

    /// Counts an operation that the owner answered.
    pub fn forwarded(&self) {
        self.forwards.get_or_create(&OutcomeLabels { outcome: "answered" }).inc();
    }

    /// Counts an operation that was refused, as too many are forwarded already.
    pub fn forward_shed(&self) {
        self.forwards.get_or_create(&OutcomeLabels { outcome: "shed" }).inc();
    }

    /// Counts an operation that nobody answered.
    pub fn forward_failed(&self) {
        self.forwards.get_or_create(&OutcomeLabels { outcome: "failed" }).inc();
    }

    /// Counts the nodes that a search asks.
    pub fn scattered(&self, nodes: usize) {
        self.scatter_width.observe(nodes as f64);
    }

    /// Counts how a node's part of a search ended.
    pub fn part(&self, outcome: &'static str) {
        self.parts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a part of another node's search as running, until what is returned is dropped.
    pub fn part_running(&self) -> PartRunning {
        self.parts_running.inc();
        PartRunning(self.parts_running.clone())
    }

    /// Counts a slow node whose part was asked of others too, or could not be as that was done too often.
    pub fn hedged(&self, outcome: &'static str) {
        self.hedges.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a node that is asked for more of a page than it had sent at first.
    pub fn resumed(&self) {
        self.resumed.inc();
    }

    /// Counts a shard that was brought back.
    pub fn restored(&self, source: &'static str, bytes: u64, elapsed: Duration) {
        let labels = SourceLabels { source };
        self.restores.get_or_create(&labels).inc();
        self.restored_bytes.get_or_create(&labels).inc_by(bytes);
        self.restore_duration.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// Counts an attempt to bring a shard back that failed.
    pub fn restore_failed(&self) {
        self.restore_failures.inc();
    }

    /// Counts new owners of shards.
    pub fn owners_changed(&self, changes: u64) {
        self.owner_changes.inc_by(changes);
    }

    /// Counts the end of a shard's move.
    pub fn move_ended(&self, outcome: &'static str) {
        self.moves_ended.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a new leader.
    pub fn elected(&self) {
        self.elections.inc();
    }

    /// Takes what was measured.
    pub fn set(&self, now: &ClusterGauges) {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        for (state, count) in &now.shards {
            set(&self.shards.get_or_create(&StateLabels { state }), *count);
        }
        for (state, count) in &now.nodes {
            set(&self.nodes.get_or_create(&StateLabels { state }), *count);
        }
        for (refused, counts) in [
            (&self.refused_packets, &now.refused_packets),
            (&self.refused_calls, &now.refused_calls),
        ] {
            for (reason, count) in counts {
                let labels = ReasonLabels { reason: reason.clone() };
                set(&refused.get_or_create(&labels), *count);
            }
        }
        self.oldest_heartbeat.set(now.oldest_heartbeat.as_secs_f64());
        self.highest_phi.set(now.highest_phi);
        set(&self.moves, now.moves);
        self.set_mirrors(now.mirrors);
        set(&self.term, now.term);
        set(&self.applied, now.applied);
        set(&self.lag, now.lag);
        set(&self.map_version, now.map_version);
        set(&self.not_uploaded, now.not_uploaded);
        self.oldest_upload.set(now.oldest_upload.as_secs_f64());
        self.set_cold(&now.cold);
        set(&self.replicas, now.replicas);
        self.oldest_replica.set(now.oldest_replica.as_secs_f64());
    }

    fn set_mirrors(&self, now: RestoredMirrors) {
        for (source, count) in [("bundle", now.from_bundles), ("clone", now.cloned_again)] {
            let counter = self.restored_mirrors.get_or_create(&SourceLabels { source });
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.restored_mirror_bytes.inner().store(now.bundle_bytes, Ordering::Relaxed);
    }

    fn set_cold(&self, counts: &ColdCounts) {
        let store = |counter: &Counter, value| counter.inner().store(value, Ordering::Relaxed);
        let mut retries = 0;
        for (action, outcome, count) in &counts.calls {
            if *outcome == ColdOutcome::Retried {
                retries += count;
                continue;
            }
            let labels = OperationLabels { operation: action.as_str(), outcome: outcome.as_str() };
            store(&self.cold_operations.get_or_create(&labels), *count);
        }
        store(&self.cold_retries, retries);
        for (direction, bytes) in [("up", counts.sent), ("down", counts.fetched)] {
            store(&self.cold_bytes.get_or_create(&DirectionLabels { direction }), bytes);
        }
    }
}
