//! The configuration as the manager of repositories takes it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use aeterna_repo::cold_storage::{ColdLimits, ColdStorage};
use aeterna_repo::{ClusterShards, DatabaseUrl, ManagerConfig};
use uuid::Uuid;

use super::Config;

impl Config {
    /// What the manager of repositories is opened with.
    pub fn manager(&self) -> ManagerConfig {
        let mut config = ManagerConfig::new(&self.data);
        config.base_path = self.base_path.clone();
        config.database = DatabaseUrl::new(self.database_url.reveal());
        config.database_connections = narrow(self.database_connections);
        config.shards = narrow(self.shards);
        config.workers = size(self.workers);
        config.disk_critical_percent = self.disk_critical_percent;
        config.max_revisions = size(self.max_revisions);
        config.history_commits = self.history_commits;
        config.retry.attempts = narrow(self.attempts);
        config.index.max_file_bytes = self.max_file_bytes;
        if self.indexing_threads > 0 {
            config.index.threads = size(self.indexing_threads);
        }
        config.sync_interval = (self.sync_interval_seconds > 0)
            .then(|| Duration::from_secs(self.sync_interval_seconds));
        let git = &mut config.git;
        git.allow_local_paths = self.allow_local_paths;
        git.allow_http = self.allow_http;
        git.fetch_timeout = Duration::from_secs(self.fetch_timeout_seconds);
        git.connect_timeout = Duration::from_secs(self.connect_timeout_seconds);
        git.stall_timeout = Duration::from_secs(self.stall_timeout_seconds);
        git.max_repository_bytes = self.max_repository_bytes;
        git.max_files = size(self.max_files);
        git.max_file_bytes = self.max_file_response_bytes;
        config
    }

    /// What a node of this cluster needs to hold shards.
    pub fn cluster_shards(&self, id: Uuid, shards: u32, cold: Arc<ColdStorage>) -> ClusterShards {
        ClusterShards {
            part_bytes: self.part_bytes,
            follow_every: Duration::from_millis(self.follow_every_ms),
            ..ClusterShards::new(id, shards, cold)
        }
    }

    /// How much is asked of cold storage at a time.
    pub fn cold_limits(&self) -> ColdLimits {
        let rate = |kib: u64| NonZeroU64::new(kib.saturating_mul(1024));
        ColdLimits {
            call_timeout: Duration::from_secs(self.cold_call_timeout_seconds),
            upload_rate: rate(self.cold_upload_kib),
            download_rate: rate(self.cold_download_kib),
            ..ColdLimits::default()
        }
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
