//! The configuration as the parts take it.

use std::time::Duration;

use aeterna_repo::{DatabaseUrl, ManagerConfig};

use super::Config;

/// Name of the index's folder in the data folder.
const INDEX_FOLDER: &str = "index";

impl Config {
    /// What the manager of repositories is opened with.
    pub fn manager(&self) -> ManagerConfig {
        let mut config = ManagerConfig::new(&self.data);
        config.base_path = self.base_path.clone();
        config.index_path = self.data.join(INDEX_FOLDER);
        config.database = DatabaseUrl::new(self.database_url.reveal());
        config.shards = u32::try_from(self.shards).unwrap_or(u32::MAX);
        config.workers = usize::try_from(self.workers).unwrap_or(usize::MAX);
        config.git.fetch_timeout = Duration::from_secs(self.clone_timeout_seconds);
        config.git.max_repository_bytes = self.max_clone_bytes;
        config.git.max_file_bytes = self.max_file_response_bytes;
        config
    }
}
