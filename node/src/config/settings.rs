//! Every setting, defined once: its field, its name in the file, its environment variable, its
//! bounds, its default and what it means.

use std::path::PathBuf;

use aeterna_cluster::shard_map::MAX_SHARDS;

use super::values::{
    Bounds, ColdProvider, DatabaseUrl, JoinList, ListenAddress, LogFilter, LogFormat,
    OptionalAddress, OptionalText, Setting,
};

/// What the loader and `config show` know of one setting.
pub struct Key {
    /// Name in the file, with its table before a dot.
    pub name: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Whether the file writes it without quotes.
    pub bare: bool,
    /// Reads a value into the configuration.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// The value as text, secrets masked.
    pub show: fn(&Config) -> String,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $name:literal, $env:literal, $bounds:expr;)+) => {
        /// The configuration of a node.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// Every setting, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name,
            env: $env,
            doc: concat!($($doc),+),
            bare: <$type as Setting>::BARE,
            set: |config, text| {
                let bounds: Bounds = $bounds;
                config.$field = <$type as Setting>::parse(text, bounds)?;
                Ok(())
            },
            show: |config| config.$field.show(),
        },)+];
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

settings! {
    /// Address that the server listens on; port 0 takes a free one. Loopback only, until
    /// authentication is configured.
    listen: ListenAddress = ListenAddress::default(), "listen", "AETERNA_LISTEN", None;
    /// Folder of everything that the node keeps. Default: `$XDG_DATA_HOME/aeterna`.
    data: PathBuf = default_data(), "data", "AETERNA_DATA", None;
    /// Folder of the git mirrors. Default: `repositories` in the data folder.
    base_path: PathBuf = PathBuf::new(), "base_path", "CODE_SEARCH_BASE_PATH", None;
    /// Database of the catalog: SQLite, or PostgreSQL 15 or later. Default: `catalog.db` in the
    /// data folder.
    database_url: DatabaseUrl = DatabaseUrl::sqlite(&PathBuf::new()), "database_url", "DATABASE_URL", None;
    /// Connections to the database at most.
    database_connections: u64 = 8, "database_connections", "AETERNA_DATABASE_CONNECTIONS", Some((1, 1000));
    /// Name of this node.
    node_name: String = "local".to_owned(), "node_name", "SHARD_ID", None;

    /// Where the other nodes are: `host:port` of their gossip, or DNS names of such, separated by commas.
    /// With it the node is one of a cluster; it may name itself.
    cluster_join: JoinList = JoinList::default(), "cluster.join", "AETERNA_CLUSTER_JOIN", None;
    /// Address that other nodes' calls (gRPC) come to; port 0 takes a free one. Default: port 8081 of
    /// `cluster.address`, or of this machine alone.
    cluster_listen: ListenAddress = ListenAddress::loopback(8081), "cluster.listen", "AETERNA_CLUSTER_LISTEN", None;
    /// Address that gossip (UDP) comes to; port 0 takes a free one. Default: port 8082 of
    /// `cluster.address`, or of this machine alone.
    cluster_gossip: ListenAddress = ListenAddress::loopback(8082), "cluster.gossip", "AETERNA_CLUSTER_GOSSIP", None;
    /// Address at which other nodes reach this one, such as a pod's. Default: the address of
    /// `cluster.listen`.
    pod_ip: OptionalAddress = OptionalAddress::default(), "cluster.address", "POD_IP", None;
    /// File with the cluster's key, 32 or more bytes of secret text a line: the first line seals, every
    /// line opens, so that keys can be rotated. Needed off loopback.
    cluster_key_file: OptionalText = OptionalText::default(), "cluster.key_file", "AETERNA_CLUSTER_KEY_FILE", None;
    /// PEM file of the authorities by which nodes' certificates are made. With it, calls between nodes are
    /// encrypted, and both sides show a certificate.
    cluster_tls_ca: OptionalText = OptionalText::default(), "cluster.tls_ca", "AETERNA_CLUSTER_TLS_CA", None;
    /// PEM file of this node's certificate.
    cluster_tls_certificate: OptionalText = OptionalText::default(), "cluster.tls_certificate", "AETERNA_CLUSTER_TLS_CERTIFICATE", None;
    /// PEM file of the certificate's key.
    cluster_tls_key: OptionalText = OptionalText::default(), "cluster.tls_key", "AETERNA_CLUSTER_TLS_KEY", None;
    /// Name that is in every node's certificate. Default: the node's address.
    cluster_tls_name: OptionalText = OptionalText::default(), "cluster.tls_name", "AETERNA_CLUSTER_TLS_NAME", None;
    /// Shards of a new cluster; fixed when the cluster is made.
    cluster_shards: u64 = 256, "cluster.shards", "AETERNA_CLUSTER_SHARDS", Some((1, MAX_SHARDS as u64));
    /// Nodes that hold a shard, its owner included: with more than one, searches miss nothing when a node
    /// dies. The leader goes by its own setting: give every node the same.
    cluster_replicas: u64 = 1, "cluster.replicas", "AETERNA_CLUSTER_REPLICAS", Some((1, 3));
    /// Zone in which the node stands; copies of a shard go to different ones.
    cluster_zone: OptionalText = OptionalText::default(), "cluster.zone", "AETERNA_CLUSTER_ZONE", None;
    /// How much the node takes, in percent of a usual node.
    cluster_capacity: u64 = 100, "cluster.capacity", "AETERNA_CLUSTER_CAPACITY", Some((1, 10_000));
    /// Seconds without a heartbeat after which a node is dead and its shards go to others.
    heartbeat_timeout_seconds: u64 = 10, "cluster.heartbeat_timeout_seconds", "AETERNA_CLUSTER_HEARTBEAT_TIMEOUT_SECONDS", Some((2, 3600));
    /// Percent of its disk that are in use when a node gets no more shards.
    disk_high_percent: u64 = 90, "cluster.disk_high_percent", "AETERNA_CLUSTER_DISK_HIGH_PERCENT", Some((1, 100));
    /// Milliseconds between two looks for what the owner of a copied shard has uploaded. A shard that
    /// nothing is uploaded of is looked at less often, down to every fifth time.
    follow_every_ms: u64 = 1000, "cluster.follow_every_ms", "AETERNA_CLUSTER_FOLLOW_EVERY_MS", Some((100, 60_000));
    /// Bytes of contents that are indexed in one part: a repository with more of them, over all its indexed
    /// revisions, is indexed in several, each in a shard on another node, and searched as one.
    part_bytes: u64 = 4 << 30, "cluster.part_bytes", "AETERNA_CLUSTER_PART_BYTES", Some((1024, 1 << 50));
    /// Milliseconds without a sign of life after which a search goes on without another node.
    peer_timeout_ms: u64 = 2000, "cluster.peer_timeout_ms", "AETERNA_CLUSTER_PEER_TIMEOUT_MS", Some((100, 600_000));
    /// Milliseconds without results after which a node can be slow: another that holds the same shards is
    /// asked too, if it takes much longer than is usual.
    hedge_after_ms: u64 = 50, "cluster.hedge_after_ms", "AETERNA_CLUSTER_HEDGE_AFTER_MS", Some((1, 600_000));
    /// Percent of the calls for searches that may be made twice as a node is slow; 0 for none.
    hedge_percent: u64 = 10, "cluster.hedge_percent", "AETERNA_CLUSTER_HEDGE_PERCENT", Some((0, 100));
    /// Whether shards are moved to nodes that have less by themselves, such as to new ones. The leader goes by
    /// its own setting: give every node the same.
    rebalance_auto: bool = false, "rebalance.auto", "AETERNA_REBALANCE_AUTO", None;
    /// Repository operations that a node has other nodes answer, or answers for them, at once; further ones are
    /// answered with 429.
    concurrent_forwards: u64 = 64, "cluster.concurrent_forwards", "AETERNA_CLUSTER_CONCURRENT_FORWARDS", Some((1, 4096));
    /// Shards that a node restores at once.
    concurrent_restores: u64 = 8, "cluster.concurrent_restores", "AETERNA_CLUSTER_CONCURRENT_RESTORES", Some((1, 256));

    /// Where segments of the index are kept beside the nodes' disks: `local`, `s3` or `gcs`.
    cold_provider: ColdProvider = ColdProvider::Local, "cold_storage.provider", "COLD_STORAGE_PROVIDER", None;
    /// Folder of local cold storage, which all nodes share. Default: `cold` in the data folder.
    cold_path: PathBuf = PathBuf::new(), "cold_storage.path", "COLD_STORAGE_PATH", None;
    /// Bucket of cold storage.
    cold_bucket: OptionalText = OptionalText::default(), "cold_storage.bucket", "COLD_STORAGE_BUCKET", None;
    /// What keys in the bucket begin with.
    cold_prefix: OptionalText = OptionalText::default(), "cold_storage.prefix", "COLD_STORAGE_PREFIX", None;
    /// URL of the S3 server. Default: the cloud's. Its credentials come from the environment or the
    /// machine, as the cloud's own tools take them (`AWS_ACCESS_KEY_ID`, …).
    cold_endpoint: OptionalText = OptionalText::default(), "cold_storage.endpoint", "COLD_STORAGE_ENDPOINT", None;
    /// Region of the bucket.
    cold_region: OptionalText = OptionalText::default(), "cold_storage.region", "COLD_STORAGE_REGION", None;
    /// KiB a second that a node sends to cold storage at most; 0 sends as fast as it goes.
    cold_upload_kib: u64 = 0, "cold_storage.upload_kib_per_second", "AETERNA_COLD_STORAGE_UPLOAD_KIB_PER_SECOND", Some((0, 1 << 32));
    /// KiB a second that a node fetches from cold storage at most; 0 fetches as fast as it goes.
    cold_download_kib: u64 = 0, "cold_storage.download_kib_per_second", "AETERNA_COLD_STORAGE_DOWNLOAD_KIB_PER_SECOND", Some((0, 1 << 32));
    /// Seconds that one call of cold storage may take; a call moves 8 MiB at most.
    cold_call_timeout_seconds: u64 = 30, "cold_storage.call_timeout_seconds", "AETERNA_COLD_STORAGE_CALL_TIMEOUT_SECONDS", Some((1, 3600));

    /// Log lines: `human`, `json`, or `auto` (human on a terminal).
    log_format: LogFormat = LogFormat::Auto, "log.format", "AETERNA_LOG_FORMAT", None;
    /// Which log lines are written: a level, or directives such as `info,aeterna_repo=debug`.
    log_filter: LogFilter = LogFilter::default(), "log.filter", "AETERNA_LOG", None;

    /// Connections served at once; over 32 further ones `/livez`, `/readyz`, `/metrics` and
    /// `/internal/shutdown` are answered and all else with 503, and the rest wait.
    max_connections: u64 = 1024, "http.max_connections", "AETERNA_HTTP_MAX_CONNECTIONS", Some((1, 65_536));
    /// Bytes of a request's body.
    max_body_bytes: u64 = 2 * MIB, "http.max_body_bytes", "AETERNA_HTTP_MAX_BODY_BYTES", Some((KIB, GIB));
    /// Seconds for a client to send a request's head, and again for its body.
    read_timeout_seconds: u64 = 15, "http.read_timeout_seconds", "AETERNA_HTTP_READ_TIMEOUT_SECONDS", Some((1, 3600));
    /// Seconds for a client to take the next 256 KiB of an answer.
    write_timeout_seconds: u64 = 30, "http.write_timeout_seconds", "AETERNA_HTTP_WRITE_TIMEOUT_SECONDS", Some((1, 3600));
    /// Seconds that a shutdown waits for running requests and work.
    shutdown_timeout_seconds: u64 = 30, "http.shutdown_timeout_seconds", "AETERNA_HTTP_SHUTDOWN_TIMEOUT_SECONDS", Some((1, 3600));
    /// Bytes of one file that the file endpoint returns.
    max_file_response_bytes: u64 = 32 * MIB, "http.max_file_response_bytes", "AETERNA_HTTP_MAX_FILE_RESPONSE_BYTES", Some((KIB, GIB));

    /// Results of a page, where a request does not say.
    page_size: u64 = 50, "search.page_size", "AETERNA_SEARCH_PAGE_SIZE", Some((1, 10_000));
    /// Results of a page at most.
    max_page_size: u64 = 1000, "search.max_page_size", "AETERNA_SEARCH_MAX_PAGE_SIZE", Some((1, 10_000));
    /// Results that `count:all` returns at most.
    max_results: u64 = 100_000, "search.max_results", "AETERNA_SEARCH_MAX_RESULTS", Some((1, 10_000_000));
    /// Bytes of results that a search with `count:all` holds while it still looks for better ones;
    /// results beyond are made when their turn comes.
    held_bytes: u64 = 64 * MIB, "search.held_bytes", "AETERNA_SEARCH_HELD_BYTES", Some((0, 64 * GIB));
    /// Bytes of a query.
    max_query_bytes: u64 = 8 * KIB, "search.max_query_bytes", "AETERNA_SEARCH_MAX_QUERY_BYTES", Some((16, 8 * KIB));
    /// Lines of context above and below a match at most.
    max_context_lines: u64 = 100, "search.max_context_lines", "AETERNA_SEARCH_MAX_CONTEXT_LINES", Some((0, 10_000));
    /// Searches that run at once; further ones are answered with 429.
    concurrent_searches: u64 = 64, "search.concurrent_searches", "AETERNA_SEARCH_CONCURRENT_SEARCHES", Some((1, 4096));
    /// Parts of other nodes' searches that run at once; further ones are refused.
    concurrent_parts: u64 = 128, "search.concurrent_parts", "AETERNA_SEARCH_CONCURRENT_PARTS", Some((1, 4096));
    /// Seconds after which a search answers with what it has, unless it has `timeout:`.
    search_timeout_seconds: u64 = 10, "search.timeout_seconds", "AETERNA_SEARCH_TIMEOUT_SECONDS", Some((1, 3600));
    /// Seconds that `timeout:` can ask for at most.
    max_search_timeout_seconds: u64 = 60, "search.max_timeout_seconds", "AETERNA_SEARCH_MAX_TIMEOUT_SECONDS", Some((1, 3600));

    /// Shards of the index; fixed when the data folder is made.
    shards: u64 = 16, "indexing.shards", "AETERNA_INDEXING_SHARDS", Some((1, 1024));
    /// Repositories that are cloned or indexed at once.
    workers: u64 = 2, "indexing.workers", "AETERNA_INDEXING_WORKERS", Some((1, 256));
    /// Threads of one indexing; 0 is one a processor.
    indexing_threads: u64 = 0, "indexing.threads", "AETERNA_INDEXING_THREADS", Some((0, 1024));
    /// Percent of its disk that are in use when a node neither fetches nor indexes until there is room
    /// again. Searches and removals go on.
    disk_critical_percent: u64 = 98, "indexing.disk_critical_percent", "AETERNA_INDEXING_DISK_CRITICAL_PERCENT", Some((1, 100));
    /// Bytes of a file beyond which its content is left out of the index.
    max_file_bytes: u64 = 256 * MIB, "indexing.max_file_bytes", "AETERNA_INDEXING_MAX_FILE_BYTES", Some((KIB, 64 * GIB));

    /// Branches and tags of one repository that are indexed at most.
    max_revisions: u64 = 10_000, "indexing.max_revisions", "AETERNA_INDEXING_MAX_REVISIONS", Some((1, 1_000_000));
    /// Seconds after which a repository is synced by itself; 0 is never.
    sync_interval_seconds: u64 = 0, "indexing.sync_interval_seconds", "AETERNA_INDEXING_SYNC_INTERVAL_SECONDS", Some((0, 31_536_000));
    /// Commits of one repository that are read at most for the authors and dates of its files' last
    /// changes.
    history_commits: u64 = 2_000_000, "indexing.history_commits", "AETERNA_INDEXING_HISTORY_COMMITS", Some((1, 1_000_000_000));
    /// Attempts at indexing a repository before it stays in error.
    attempts: u64 = 8, "indexing.attempts", "AETERNA_INDEXING_ATTEMPTS", Some((1, 1000));

    /// Whether repositories of this machine may be added by path: whoever may add them reads every
    /// repository that the server can read.
    allow_local_paths: bool = true, "git.allow_local_paths", "AETERNA_GIT_ALLOW_LOCAL_PATHS", None;
    /// Whether `http://` may be added, which nothing protects on its way.
    allow_http: bool = false, "git.allow_http", "AETERNA_GIT_ALLOW_HTTP", None;
    /// Seconds that a clone or fetch may take.
    fetch_timeout_seconds: u64 = 7200, "git.fetch_timeout_seconds", "AETERNA_GIT_FETCH_TIMEOUT_SECONDS", Some((1, 604_800));
    /// Seconds that connecting to a host may take.
    connect_timeout_seconds: u64 = 20, "git.connect_timeout_seconds", "AETERNA_GIT_CONNECT_TIMEOUT_SECONDS", Some((1, 3600));
    /// Seconds without a byte after which a fetch has failed.
    stall_timeout_seconds: u64 = 60, "git.stall_timeout_seconds", "AETERNA_GIT_STALL_TIMEOUT_SECONDS", Some((1, 86_400));
    /// Bytes of one repository's mirror at most.
    max_repository_bytes: u64 = 64 * GIB, "git.max_repository_bytes", "AETERNA_GIT_MAX_REPOSITORY_BYTES", Some((MIB, 16_384 * GIB));
    /// Files of one revision at most.
    max_files: u64 = 5_000_000, "git.max_files", "AETERNA_GIT_MAX_FILES", Some((1, 1_000_000_000));
}

impl Config {
    /// Fills in the defaults that depend on other settings.
    pub(super) fn complete(&mut self) {
        if self.base_path.as_os_str().is_empty() {
            self.base_path = self.data.join("repositories");
        }
        if self.cold_path.as_os_str().is_empty() {
            self.cold_path = self.data.join("cold");
        }
        if self.database_url == DatabaseUrl::sqlite(&PathBuf::new()) {
            self.database_url = DatabaseUrl::sqlite(&self.data.join("catalog.db"));
        }
    }
}

/// `$XDG_DATA_HOME/aeterna`, as the XDG base directory specification has it.
fn default_data() -> PathBuf {
    home_folder("XDG_DATA_HOME", ".local/share").join("aeterna")
}

/// Folder where users keep configuration files.
pub(super) fn config_folder() -> PathBuf {
    home_folder("XDG_CONFIG_HOME", ".config").join("aeterna")
}

fn home_folder(variable: &str, below_home: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(below_home)))
        .unwrap_or_else(std::env::temp_dir)
}
