//! Where cold storage is and how much of it is used at a time; each limit has a name and a default.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// Where cold storage is. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum ColdStorageConfig {
    /// A folder that every node of the cluster can reach: for one machine, or a network file system
    /// with hard links.
    Local {
        /// The folder; it is made where there is none.
        folder: PathBuf,
    },
    /// A bucket of Amazon S3, or of a server that speaks its protocol and honours `If-None-Match`.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every key starts with; may be empty.
        prefix: String,
        /// URL of the server; Amazon's when `None`.
        endpoint: Option<String>,
        /// Region; `us-east-1` or what the environment says when `None`.
        region: Option<String>,
        /// Whether the endpoint may be `http://`. Nothing protects the data on its way then.
        allow_http: bool,
        /// Access key and its secret; the environment's or the machine's own when `None`.
        access: Option<(String, String)>,
    },
    /// A bucket of Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// What every key starts with; may be empty.
        prefix: String,
        /// File with a service account's key; the environment's or the machine's own when `None`.
        service_account: Option<PathBuf>,
    },
}

impl fmt::Debug for ColdStorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = matches!(self, Self::S3 { access: Some(_), .. });
        write!(f, "{self}{}", if access { ", with credentials" } else { "" })
    }
}

/// Where it is, for a person; without secrets.
impl fmt::Display for ColdStorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bucket, prefix, place) = match self {
            Self::Local { folder } => return write!(f, "the folder {}", folder.display()),
            Self::S3 { bucket, prefix, endpoint: None, .. } => (bucket, prefix, "S3".to_owned()),
            Self::S3 { bucket, prefix, endpoint: Some(endpoint), .. } => {
                (bucket, prefix, crate::secrets::mask_password(endpoint))
            }
            Self::Gcs { bucket, prefix, .. } => (bucket, prefix, "Google Cloud Storage".to_owned()),
        };
        write!(f, "the bucket {bucket} on {place}")?;
        match prefix.is_empty() {
            true => Ok(()),
            false => write!(f, ", under {prefix}"),
        }
    }
}

/// How much is asked of cold storage at a time, and for how long.
#[derive(Clone, Debug)]
pub struct ColdLimits {
    /// Time that one call may take; a call moves one part of a file at most.
    pub call_timeout: Duration,
    /// Attempts of one call, the first included.
    pub attempts: u32,
    /// Wait after the first failed attempt; twice as long after each further one.
    pub first_wait: Duration,
    /// Calls under way at a time. With [`ColdLimits::part_bytes`] it bounds the memory of transfers.
    pub calls: usize,
    /// Bytes of a part: files are sent and fetched in parts of this size. S3 wants 5 MiB or more.
    pub part_bytes: u64,
    /// Files of one shard that are sent or fetched at a time.
    pub files: usize,
    /// Bytes a second that are sent at most; `None` sends as fast as it goes.
    pub upload_rate: Option<NonZeroU64>,
    /// Bytes a second that are fetched at most; `None` fetches as fast as it goes.
    pub download_rate: Option<NonZeroU64>,
    /// Bytes of a manifest that are read at most.
    pub manifest_bytes: u64,
}

impl Default for ColdLimits {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(30),
            attempts: 4,
            first_wait: Duration::from_millis(200),
            calls: 16,
            part_bytes: 8 << 20,
            files: 4,
            upload_rate: None,
            download_rate: None,
            manifest_bytes: 256 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let config = ColdStorageConfig::S3 {
            bucket: "code".to_owned(),
            prefix: "a".to_owned(),
            endpoint: Some("http://user:hunter2@host:1".to_owned()),
            region: None,
            allow_http: true,
            access: Some(("AKIA0".to_owned(), "hunter2".to_owned())),
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("AKIA0"), "{shown}");
        assert_eq!(config.to_string(), "the bucket code on http://user:***@host:1, under a");
    }
}
