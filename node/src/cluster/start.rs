//! From nothing to a member of the cluster: who the cluster is, who this disk is, and what it serves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aeterna_cluster::consensus::ConsensusError;
use aeterna_cluster::gossip::GossipError;
use aeterna_cluster::gossip::seal::{ClusterKey, ClusterKeys};
use aeterna_cluster::name::{BadNodeName, NodeName};
use aeterna_cluster::peers::PeerTls;
use aeterna_repo::cold_storage::{
    ClusterClaim, ColdError, ColdStorage, ColdStorageConfig, Recovery,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::config::{ColdProvider, Config};
use crate::files::write_durably;
use crate::http::starting::Starting;

/// The cluster's identity as this disk knows it.
const CLAIM_FILE: &str = "claim.json";
/// Who made the Raft group anew last, as this disk knows it.
const RECOVERY_FILE: &str = "recovery.json";
/// What tells this disk from others when the cluster is claimed.
const TOKEN_FILE: &str = "token";
/// Wait between attempts at cold storage before the cluster is known.
const RETRY: Duration = Duration::from_secs(2);

/// Why a node cannot take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name cannot be a node's.
    #[error("{0}; set SHARD_ID or `node_name`")]
    Name(#[from] BadNodeName),
    /// A file of the node cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The key file has no key.
    #[error("{path} has no cluster key: {reason}; make one with `openssl rand -hex 32`")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Others would reach this node, and none of them would have to prove anything.
    #[error(
        "{0} leaves this machine and needs a cluster key: set `cluster.key_file`, the same for every node"
    )]
    NoKey(std::net::SocketAddr),
    /// Nobody can be told where this node is.
    #[error(
        "the node listens on all addresses and does not know which of them others reach: set POD_IP or `cluster.address`"
    )]
    NoAddress,
    /// An address cannot be had.
    #[error("cannot listen on {address}: {source}; set `cluster.listen`")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Certificates are only useful together.
    #[error(
        "set `cluster.tls_ca`, `cluster.tls_certificate` and `cluster.tls_key`, or none of them"
    )]
    Tls,
    /// Cold storage cannot be used.
    #[error("cold storage: {0}")]
    Cold(#[from] ColdError),
    /// The disk is another cluster's.
    #[error(
        "this node's data is of cluster {disk}, cold storage is of {cold}: give it the cold storage of its cluster, or an empty data folder"
    )]
    OtherCluster {
        /// What the disk says.
        disk: Uuid,
        /// What cold storage says.
        cold: Uuid,
    },
    /// The number of shards cannot change.
    #[error(
        "the cluster has {has} shards, and that cannot change; set `cluster.shards` to it, not {wanted}"
    )]
    Shards {
        /// What the cluster has.
        has: u32,
        /// What the configuration says.
        wanted: u32,
    },
    /// Without the group's map the node would begin with an empty one.
    #[error(
        "on this disk the Raft group was being made anew, and that was not finished: run `aeterna cluster recover` again, and then start the node"
    )]
    Unfinished,
    /// The setting is missing.
    #[error("cold storage of this kind needs `{0}`")]
    Setting(&'static str),
    /// The Raft group's part on this disk cannot be opened.
    #[error("the shard map's log: {0}")]
    Consensus(#[from] ConsensusError),
    /// The node cannot gossip.
    #[error("gossip: {0}")]
    Gossip(#[from] GossipError),
    /// The node's calls cannot be set up.
    #[error("calls between nodes: {0}")]
    Calls(String),
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> StartError + '_ {
    move |source| StartError::File { path: path.to_owned(), source }
}

/// Which cold storage the configuration names.
pub fn cold_config(config: &Config) -> Result<ColdStorageConfig, StartError> {
    let prefix = config.cold_prefix.0.clone().unwrap_or_default();
    let bucket = || config.cold_bucket.0.clone().ok_or(StartError::Setting("cold_storage.bucket"));
    Ok(match config.cold_provider {
        ColdProvider::Local => ColdStorageConfig::Local { folder: config.cold_path.clone() },
        ColdProvider::S3 => {
            let endpoint = config.cold_endpoint.0.clone();
            let allow_http = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
            ColdStorageConfig::S3 {
                bucket: bucket()?,
                prefix,
                endpoint,
                region: config.cold_region.0.clone(),
                allow_http,
                access: None,
            }
        }
        ColdProvider::Gcs => {
            ColdStorageConfig::Gcs { bucket: bucket()?, prefix, service_account: None }
        }
    })
}

/// The cluster's keys, where the configuration names a file of them.
pub fn keys(config: &Config) -> Result<Option<ClusterKeys>, StartError> {
    let Some(path) = &config.cluster_key_file.0 else { return Ok(None) };
    let path = PathBuf::from(path);
    let text = fs::read_to_string(&path).map_err(file_error(&path))?;
    let bad = |reason: String| StartError::Key { path: path.clone(), reason };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut keys = lines.map(|line| ClusterKey::new(line.as_bytes()));
    let seal = keys.next().ok_or_else(|| bad("it is empty".to_owned()))?;
    let seal = seal.map_err(|error| bad(error.to_string()))?;
    let also = keys.next().transpose().map_err(|error| bad(error.to_string()))?;
    if keys.next().is_some() {
        return Err(bad("it has more than two".to_owned()));
    }
    Ok(Some(ClusterKeys { current: seal, other: also }))
}

/// Certificates for calls between nodes, where the configuration names them.
pub fn tls(config: &Config) -> Result<Option<PeerTls>, StartError> {
    let settings =
        [&config.cluster_tls_ca, &config.cluster_tls_certificate, &config.cluster_tls_key];
    let [Some(ca), Some(certificate), Some(key)] = settings.map(|path| path.0.as_ref()) else {
        return match settings.iter().all(|path| path.0.is_none()) {
            true => Ok(None),
            false => Err(StartError::Tls),
        };
    };
    let read = |path: &String| fs::read(path).map_err(file_error(Path::new(path)));
    Ok(Some(PeerTls {
        authorities: read(ca)?,
        certificate: read(certificate)?,
        key: read(key)?,
        server_name: config.cluster_tls_name.0.clone(),
    }))
}

/// This node's name.
pub fn name(config: &Config) -> Result<NodeName, StartError> {
    Ok(config.node_name.parse()?)
}

/// What this disk knows of the cluster: its files.
pub struct Known {
    /// The cluster as it was claimed.
    pub claim: ClusterClaim,
    /// Who made the Raft group anew last, if it ever was.
    pub recovery: Option<Recovery>,
}

impl Known {
    fn read(folder: &Path) -> Result<Option<Self>, StartError> {
        let Some(claim) = read_json(&folder.join(CLAIM_FILE))? else { return Ok(None) };
        Ok(Some(Self { claim, recovery: read_json(&folder.join(RECOVERY_FILE))? }))
    }

    /// Writes what is known to the disk.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<(), StartError> {
        let path = folder.join(CLAIM_FILE);
        write_durably(&path, &crate::http::json(&self.claim)).map_err(file_error(&path))?;
        let Some(recovery) = &self.recovery else { return Ok(()) };
        let path = folder.join(RECOVERY_FILE);
        write_durably(&path, &crate::http::json(recovery)).map_err(file_error(&path))
    }

    fn incarnation(&self) -> u32 {
        self.recovery.as_ref().map_or(0, |recovery| recovery.number)
    }

    /// Takes in what cold storage says of recoveries; where it does not answer, the disk's word holds.
    async fn learn_recovery(
        &mut self,
        cold: &ColdStorage,
        folder: &Path,
        token: u64,
    ) -> Result<(), StartError> {
        match cold.newest_recovery().await {
            Ok(Some(newest)) if newest.number > self.incarnation() => {
                if newest.founder == token {
                    return Err(StartError::Unfinished);
                }
                self.recovery = Some(newest);
                self.write(folder)
            }
            Ok(_) => Ok(()),
            // As with the claim: it must not keep a node down.
            Err(error) => {
                tracing::warn!(%error, "cold storage does not say whether the Raft group was made anew");
                Ok(())
            }
        }
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StartError> {
    match fs::read(path) {
        Ok(text) => {
            let read = serde_json::from_slice(&text);
            read.map(Some).map_err(|error| file_error(path)(error.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path)(error)),
    }
}

/// The cluster as it was claimed, and what this disk has to do with it.
pub struct Claimed {
    /// What was claimed.
    pub claim: ClusterClaim,
    /// How often the Raft group was made anew.
    pub incarnation: u32,
    /// Whether this disk is to begin the Raft group.
    pub is_founder: bool,
}

/// Learns which cluster cold storage is of, or claims it. A disk that knows starts without cold
/// storage too.
pub async fn claim(
    folder: &Path,
    cold: &ColdStorage,
    (name, config): (&NodeName, &Config),
    starting: &Starting,
) -> Result<Claimed, StartError> {
    fs::create_dir_all(folder).map_err(file_error(folder))?;
    let token = token(folder)?;
    let mut known = match Known::read(folder)? {
        Some(known) => {
            // Cold storage that does not answer now must not keep a node down.
            match cold.read_claim().await {
                Ok(Some(there)) => same_cluster(&known.claim, &there)?,
                // A bucket that was emptied, or a new one: nobody else is to claim it.
                Ok(None) => {
                    tracing::warn!(
                        "cold storage is nobody's; it is claimed again for this cluster"
                    );
                    same_cluster(
                        &known.claim,
                        &claim_patiently(cold, &known.claim, starting).await?,
                    )?;
                }
                Err(error) => {
                    tracing::warn!(%error, "cold storage does not answer; the node starts without it")
                }
            }
            known
        }
        None => {
            let mine = ClusterClaim {
                cluster: Uuid::new_v4(),
                shards: wanted_shards(config),
                founder: token,
                founder_name: name.to_string(),
                made_at: OffsetDateTime::now_utc(),
            };
            let known =
                Known { claim: claim_patiently(cold, &mine, starting).await?, recovery: None };
            known.write(folder)?;
            known
        }
    };
    same_shards(&known.claim, config)?;
    known.learn_recovery(cold, folder, token).await?;
    let incarnation = known.incarnation();
    // A group that was made anew has its map: nobody begins with an empty one.
    let is_founder = known.claim.founder == token && incarnation == 0;
    Ok(Claimed { claim: known.claim, incarnation, is_founder })
}

/// The cluster that cold storage is of, if there is one; it must be the disk's.
///
/// # Errors
/// As [`claim`], and when cold storage does not answer.
pub async fn known_cluster(
    folder: &Path,
    cold: &ColdStorage,
    config: &Config,
) -> Result<Option<ClusterClaim>, StartError> {
    fs::create_dir_all(folder).map_err(file_error(folder))?;
    let Some(there) = cold.read_claim().await? else { return Ok(None) };
    if let Some(known) = Known::read(folder)? {
        same_cluster(&known.claim, &there)?;
    }
    same_shards(&there, config)?;
    Ok(Some(there))
}

fn same_cluster(disk: &ClusterClaim, cold: &ClusterClaim) -> Result<(), StartError> {
    match (disk.cluster, cold.cluster) {
        (disk, cold) if disk != cold => Err(StartError::OtherCluster { disk, cold }),
        _ => Ok(()),
    }
}

fn same_shards(claim: &ClusterClaim, config: &Config) -> Result<(), StartError> {
    match wanted_shards(config) {
        wanted if wanted != claim.shards => Err(StartError::Shards { has: claim.shards, wanted }),
        _ => Ok(()),
    }
}

fn wanted_shards(config: &Config) -> u32 {
    u32::try_from(config.cluster_shards).unwrap_or(u32::MAX)
}

/// Waits for cold storage that does not answer yet: it may be started together with the nodes.
async fn claim_patiently(
    cold: &ColdStorage,
    mine: &ClusterClaim,
    starting: &Starting,
) -> Result<ClusterClaim, ColdError> {
    loop {
        match cold.claim(mine).await {
            Err(error @ ColdError::Unavailable { .. }) => {
                let what = format!("cold storage, which says which cluster this is: {error}");
                starting.waits_for(what);
                tokio::time::sleep(RETRY).await;
            }
            claimed => return claimed,
        }
    }
}

/// What tells this disk from all others; made once.
pub fn token(folder: &Path) -> Result<u64, StartError> {
    let path = folder.join(TOKEN_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let wrong = || io::Error::other("it is no token; remove it if this node is new");
            u64::from_str_radix(text.trim(), 16).map_err(|_| file_error(&path)(wrong()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = Uuid::new_v4().as_u64_pair().0;
            let text = format!("{token:016x}\n");
            write_durably(&path, text.as_bytes()).map_err(file_error(&path))?;
            Ok(token)
        }
        Err(error) => Err(file_error(&path)(error)),
    }
}
