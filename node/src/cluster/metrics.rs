//! Metrics of the cluster.

use std::time::Duration;

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

/// What is counted and measured of the cluster.
#[derive(Debug)]
pub struct ClusterMetrics {
    forwards: Family<OutcomeLabels, Counter>,
    scatter_width: Histogram,
    parts: Family<OutcomeLabels, Counter>,
    restores: Family<SourceLabels, Counter>,
    restored_bytes: Family<SourceLabels, Counter>,
    restore_duration: Histogram,
    restore_failures: Counter,
    shards: Family<StateLabels, Gauge>,
    nodes: Family<StateLabels, Gauge>,
    oldest_heartbeat: Gauge<f64, std::sync::atomic::AtomicU64>,
    term: Gauge,
    applied: Gauge,
    lag: Gauge,
    map_version: Gauge,
    not_uploaded: Gauge,
    replicas: Gauge,
    oldest_replica: Gauge<f64, std::sync::atomic::AtomicU64>,
    refused_packets: Family<ReasonLabels, Gauge>,
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self {
            forwards: Family::default(),
            scatter_width: Histogram::new(WIDTH_BUCKETS),
            parts: Family::default(),
            restores: Family::default(),
            restored_bytes: Family::default(),
            restore_duration: Histogram::new(RESTORE_BUCKETS),
            restore_failures: Counter::default(),
            shards: Family::default(),
            nodes: Family::default(),
            oldest_heartbeat: Gauge::default(),
            term: Gauge::default(),
            applied: Gauge::default(),
            lag: Gauge::default(),
            map_version: Gauge::default(),
            not_uploaded: Gauge::default(),
            replicas: Gauge::default(),
            oldest_replica: Gauge::default(),
            refused_packets: Family::default(),
        }
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
    /// Copies of other nodes' shards.
    pub replicas: u64,
    /// Of these, the longest time since one was last known to be up to date.
    pub oldest_replica: Duration,
    /// Gossip packets that were refused, by reason.
    pub refused_packets: Vec<(String, u64)>,
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
            "Time to bring a shard back",
            Unit::Seconds,
            self.restore_duration.clone(),
        );
        to.register(
            "code_search_restore_failures",
            "Attempts to bring a shard back that failed",
            self.restore_failures.clone(),
        );
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
        to.register("code_search_raft_term", "Raft's term", self.term.clone());
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
    }

    /// Counts an operation that the owner answered.
    pub fn forwarded(&self) {
        self.forwards.get_or_create(&OutcomeLabels { outcome: "answered" }).inc();
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

    /// Counts a shard that was brought back.
    pub fn restored(&self, source: &'static str, bytes: u64, elapsed: Duration) {
        let labels = SourceLabels { source };
        self.restores.get_or_create(&labels).inc();
        self.restored_bytes.get_or_create(&labels).inc_by(bytes);
        self.restore_duration.observe(elapsed.as_secs_f64());
    }

    /// Counts an attempt to bring a shard back that failed.
    pub fn restore_failed(&self) {
        self.restore_failures.inc();
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
        for (reason, count) in &now.refused_packets {
            let labels = ReasonLabels { reason: reason.clone() };
            set(&self.refused_packets.get_or_create(&labels), *count);
        }
        self.oldest_heartbeat.set(now.oldest_heartbeat.as_secs_f64());
        set(&self.term, now.term);
        set(&self.applied, now.applied);
        set(&self.lag, now.lag);
        set(&self.map_version, now.map_version);
        set(&self.not_uploaded, now.not_uploaded);
        set(&self.replicas, now.replicas);
        self.oldest_replica.set(now.oldest_replica.as_secs_f64());
    }
}
