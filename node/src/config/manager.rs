//! The configuration as the manager of repositories takes it.

use std::time::Duration;

use aeterna_repo::{DatabaseUrl, ManagerConfig};

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
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
