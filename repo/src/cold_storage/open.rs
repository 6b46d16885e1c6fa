//! From settings to a store.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use serde::Deserialize;

use super::calls::Store;
use super::{ColdError, ColdLimits, ColdStorageConfig};

/// Time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of a request within one call: a part of a multipart upload cannot be sent by another.
const REQUEST_RETRIES: usize = 2;

/// The store, and what every key in it starts with.
pub(crate) fn store(
    config: &ColdStorageConfig,
    limits: &ColdLimits,
) -> Result<(Store, String), ColdError> {
    let client = ClientOptions::new()
        .with_timeout(limits.call_timeout)
        .with_connect_timeout(CONNECT_TIMEOUT.min(limits.call_timeout));
    let retry = RetryConfig {
        max_retries: REQUEST_RETRIES,
        retry_timeout: limits.call_timeout,
        ..RetryConfig::default()
    };
    match config {
        ColdStorageConfig::Local { folder } => {
            fs::create_dir_all(folder).map_err(ColdError::io("cannot create", folder))?;
            let store = LocalFileSystem::new_with_prefix(folder).map_err(refused)?;
            let objects = Arc::new(store.with_fsync(true));
            Ok((Store { objects, multipart: None }, String::new()))
        }
        ColdStorageConfig::S3 { bucket, prefix, endpoint, region, allow_http, access } => {
            let mut builder = match access {
                None => AmazonS3Builder::from_env(),
                Some((key, secret)) => {
                    AmazonS3Builder::new().with_access_key_id(key).with_secret_access_key(secret)
                }
            }
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(client.with_allow_http(*allow_http))
            .with_retry(retry);
            if let Some(endpoint) = endpoint {
                check_endpoint(endpoint, *allow_http)?;
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = region {
                builder = builder.with_region(region);
            }
            Ok((resumable(builder.build().map_err(refused)?), prefix.clone()))
        }
        ColdStorageConfig::Gcs { bucket, prefix, service_account } => {
            let (builder, is_loopback) = match service_account {
                None => (GoogleCloudStorageBuilder::from_env(), false),
                Some(path) => (
                    GoogleCloudStorageBuilder::new()
                        .with_service_account_path(path.to_string_lossy()),
                    is_loopback_key(path)?,
                ),
            };
            let builder = builder
                .with_bucket_name(bucket)
                .with_client_options(client.with_allow_http(is_loopback))
                .with_retry(retry);
            Ok((resumable(builder.build().map_err(refused)?), prefix.clone()))
        }
    }
}

fn resumable(store: impl ObjectStore + MultipartStore) -> Store {
    let store = Arc::new(store);
    Store { objects: store.clone(), multipart: Some(store) }
}

/// Whether a key file names a server of this machine, such as one for tests: that may be `http://`.
fn is_loopback_key(path: &Path) -> Result<bool, ColdError> {
    #[derive(Deserialize)]
    struct Key {
        gcs_base_url: Option<String>,
    }
    let text = fs::read(path).map_err(ColdError::io("cannot read", path))?;
    // What is wrong with the rest is told by who uses it, without the key itself.
    let key = serde_json::from_slice::<Key>(&text).ok();
    let url = key.and_then(|key| url::Url::parse(&key.gcs_base_url?).ok());
    Ok(match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    })
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), ColdError> {
    let wrong = |reason: &str| ColdError::Config { reason: reason.to_owned() };
    let url = url::Url::parse(endpoint)
        .map_err(|error| wrong(&format!("the endpoint is no URL: {error}")))?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(wrong("the endpoint holds credentials; give the access key and its secret instead"))
        }
        "https" => Ok(()),
        "http" if allow_http => Ok(()),
        "http" => Err(wrong("the endpoint is http; allow that, or use https")),
        _ => Err(wrong("the endpoint must start with https:// or http://")),
    }
}

fn refused(error: object_store::Error) -> ColdError {
    ColdError::Config { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endpoints_that_would_leak_or_lead_astray_are_refused() {
        assert!(check_endpoint("https://s3.example.org", false).is_ok());
        assert!(check_endpoint("http://127.0.0.1:1", true).is_ok());
        for endpoint in ["http://127.0.0.1:1", "ftp://x", "nonsense", "https://me:hunter2@x"] {
            let error = check_endpoint(endpoint, false).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
