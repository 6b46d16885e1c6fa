//! Metrics for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aeterna_repo::DiskSpace;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::metrics::ClusterMetrics;

/// Searches take from tens of microseconds to their deadline.
const SEARCH_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Indexing takes from milliseconds (a push) to hours (a first clone).
const INDEXING_BUCKETS: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UsageLabels {
    tenant: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// What is measured at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct RepositoryGauges {
    /// Repositories by state, every state listed; none when they are not known.
    pub by_state: Vec<(&'static str, u64)>,
    /// Jobs that wait.
    pub waiting: u64,
    /// Jobs that run.
    pub running: u64,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
    /// Documents in the index.
    pub index_documents: u64,
    /// Segments of the index.
    pub index_segments: u64,
    /// Whether fetching and indexing wait for room on the disk.
    pub indexing_paused: bool,
    /// The data folder's disk.
    pub disk: DiskSpace,
    /// Nodes that can answer searches, as this one sees them.
    pub healthy: u64,
}

/// Every metric of the node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    usage: Family<UsageLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<RouteLabels, Histogram>,
    search_duration: Histogram,
    step_duration: Family<StepLabels, Histogram>,
    search_outcomes: Family<OutcomeLabels, Counter>,
    searches_running: Gauge,
    indexing_duration: Histogram,
    shards_active: Gauge,
    repositories: Family<StateLabels, Gauge>,
    waiting: Gauge,
    running: Gauge,
    indexing_paused: Gauge,
    disk_used: Gauge<f64, AtomicU64>,
    index_bytes: Gauge,
    index_documents: Gauge,
    index_segments: Gauge,
    resident_bytes: Gauge,
}

fn search_histogram() -> Histogram {
    Histogram::new(SEARCH_BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Metrics {
    /// With those of the cluster that the node is one of.
    pub fn new(cluster: Option<&ClusterMetrics>) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            usage: Family::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(search_histogram),
            search_duration: search_histogram(),
            step_duration: Family::new_with_constructor(search_histogram),
            search_outcomes: Family::default(),
            searches_running: Gauge::default(),
            indexing_duration: Histogram::new(INDEXING_BUCKETS),
            shards_active: Gauge::default(),
            repositories: Family::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            indexing_paused: Gauge::default(),
            disk_used: Gauge::default(),
            index_bytes: Gauge::default(),
            index_documents: Gauge::default(),
            index_segments: Gauge::default(),
            resident_bytes: Gauge::default(),
        };
        metrics.register_events();
        metrics.register_gauges();
        if let Some(cluster) = cluster {
            cluster.register(&mut metrics.registry);
        }
        metrics
    }

    fn register_events(&mut self) {
        let to = &mut self.registry;
        to.register(
            "code_search_usage_metrics",
            "Searches and other operations per tenant",
            self.usage.clone(),
        );
        to.register("code_search_http_requests", "Requests by route", self.requests.clone());
        to.register_with_unit(
            "code_search_http_request_duration",
            "Time to answer a request",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        to.register_with_unit(
            "code_search_search_duration",
            "Time of a search in the engine",
            Unit::Seconds,
            self.search_duration.clone(),
        );
        to.register_with_unit(
            "code_search_search_step_duration",
            "Time of a step of a search",
            Unit::Seconds,
            self.step_duration.clone(),
        );
        to.register(
            "code_search_searches",
            "Searches by how they ended",
            self.search_outcomes.clone(),
        );
        to.register_with_unit(
            "code_search_repo_indexing_duration",
            "Time from the start of a repository's work until its text can be searched",
            Unit::Seconds,
            self.indexing_duration.clone(),
        );
    }

    fn register_gauges(&mut self) {
        let to = &mut self.registry;
        to.register(
            "code_search_indexer_shards_active",
            "Healthy nodes, as this node sees them",
            self.shards_active.clone(),
        );
        to.register("code_search_repositories", "Repositories by state", self.repositories.clone());
        to.register("code_search_queue_length", "Jobs that wait", self.waiting.clone());
        to.register("code_search_jobs_running", "Jobs that run", self.running.clone());
        to.register(
            "code_search_searches_running",
            "Searches that run",
            self.searches_running.clone(),
        );
        to.register(
            "code_search_indexing_paused",
            "1 while fetching and indexing wait for room on the disk",
            self.indexing_paused.clone(),
        );
        to.register_with_unit(
            "code_search_disk_used",
            "Part of the data folder's disk that is in use",
            Unit::Other("ratio".to_owned()),
            self.disk_used.clone(),
        );
        to.register_with_unit(
            "code_search_index",
            "Bytes of the index on disk",
            Unit::Bytes,
            self.index_bytes.clone(),
        );
        to.register(
            "code_search_index_documents",
            "Documents in the index",
            self.index_documents.clone(),
        );
        to.register(
            "code_search_index_segments",
            "Segments of the index",
            self.index_segments.clone(),
        );
        to.register_with_unit(
            "process_resident_memory",
            "Resident memory of the process",
            Unit::Bytes,
            self.resident_bytes.clone(),
        );
    }

    /// Counts an operation of a tenant.
    pub fn usage(&self, tenant: &str, kind: &'static str) {
        self.usage.get_or_create(&UsageLabels { tenant: tenant.to_owned(), kind }).inc();
    }

    /// Counts a request that was answered.
    pub fn request(&self, method: &str, route: &str, status: u16, elapsed: Duration) {
        // Methods are free text: an unusual one must not make a new series.
        let method = match method {
            "GET" | "POST" | "DELETE" | "HEAD" | "PUT" | "PATCH" | "OPTIONS" => method,
            _ => "other",
        };
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.request_duration
            .get_or_create(&RouteLabels { route: route.to_owned() })
            .observe(elapsed.as_secs_f64());
    }

    /// Counts a search and its steps.
    pub fn search(&self, elapsed: Duration, steps: &[(&'static str, Duration)]) {
        self.search_duration.observe(elapsed.as_secs_f64());
        for (step, elapsed) in steps {
            self.step_duration.get_or_create(&StepLabels { step }).observe(elapsed.as_secs_f64());
        }
    }

    /// Counts how a search ended: `complete`, `incomplete`, `refused`, `failed` or `busy`.
    pub fn search_ended(&self, outcome: &'static str) {
        self.search_outcomes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts one more running search until the returned value is dropped.
    pub fn search_running(&self) -> Running {
        self.searches_running.inc();
        Running(self.searches_running.clone())
    }

    /// Counts the work on a repository that made it searchable.
    pub fn indexed(&self, elapsed: Duration) {
        self.indexing_duration.observe(elapsed.as_secs_f64());
    }

    /// Everything in OpenMetrics' text form.
    pub fn encode(&self, now: &RepositoryGauges) -> String {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        if now.by_state.is_empty() {
            // What they were last is not what they are.
            self.repositories.clear();
        }
        for (state, count) in &now.by_state {
            set(&self.repositories.get_or_create(&StateLabels { state }), *count);
        }
        set(&self.shards_active, now.healthy);
        set(&self.waiting, now.waiting);
        set(&self.running, now.running);
        set(&self.indexing_paused, u64::from(now.indexing_paused));
        let used = now.disk.total.saturating_sub(now.disk.free);
        self.disk_used.set(used as f64 / now.disk.total.max(1) as f64);
        set(&self.index_bytes, now.index_bytes);
        set(&self.index_documents, now.index_documents);
        set(&self.index_segments, now.index_segments);
        set(&self.resident_bytes, resident_bytes());
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// A search that runs, for the gauge.
#[derive(Debug)]
pub struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Resident bytes of this process where the system tells in `/proc`, else 0.
fn resident_bytes() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_names_are_there() {
        let metrics = Metrics::default();
        metrics.usage("default", "search");
        metrics.request("BREW", "/api/v1/search", 200, Duration::from_millis(3));
        metrics.search(Duration::from_millis(2), &[("parse", Duration::from_micros(10))]);
        metrics.indexed(Duration::from_secs(3));
        let gauges = RepositoryGauges {
            by_state: vec![("ready", 2)],
            healthy: 1,
            ..RepositoryGauges::default()
        };
        let text = metrics.encode(&gauges);
        for line in [
            "code_search_usage_metrics_total{tenant=\"default\",kind=\"search\"} 1",
            "code_search_indexer_shards_active 1",
            "code_search_repo_indexing_duration_seconds_count 1",
            "code_search_http_requests_total{method=\"other\",route=\"/api/v1/search\",status=\"200\"} 1",
            "code_search_search_duration_seconds_bucket{le=\"0.0025\"} 1",
            "code_search_search_step_duration_seconds_count{step=\"parse\"} 1",
            "code_search_repositories{state=\"ready\"} 2",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        #[cfg(target_os = "linux")]
        assert!(resident_bytes() > 0);
    }
}
