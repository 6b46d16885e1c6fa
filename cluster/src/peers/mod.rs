//! Calls between nodes: gRPC, with a proof that the caller has the cluster key ([`guard`]).
//!
//! A node has two connections to each other node, made when they are first used: one for the Raft
//! group, the shard map and proposals, whose messages are small and urgent, and one for searches and
//! forwarded requests, whose answers may be large.

mod answers;
mod calls;
mod channel;
pub mod guard;
pub mod messages;
mod proof;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aeterna_proto::node_client::NodeClient as GeneratedClient;
use thiserror::Error;
use tonic::transport::Channel;
use uuid::Uuid;

pub use answers::Answers;
pub use channel::PeerChannel;
pub use guard::{Caller, Guard, Guarded, Refusal};
pub use tls::PeerTls;

use crate::gossip::seal::ClusterKeys;
use crate::name::NodeName;
use channel::{Identity, Stamp};

/// Metadata: the cluster's id.
pub const CLUSTER_HEADER: &str = "aeterna-cluster";
/// Metadata: the caller's name.
pub const FROM_HEADER: &str = "aeterna-from";
/// Metadata: the name of the node that is meant.
pub const TO_HEADER: &str = "aeterna-to";
/// Metadata: the proof that the caller has the cluster key.
pub const PROOF_HEADER: &str = "aeterna-proof";
/// Bytes of one message of a search or of a forwarded request, at most.
pub const MAX_DATA_BYTES: usize = 64 << 20;
/// Bytes of any other message, at most.
pub const MAX_CONTROL_BYTES: usize = 4 << 20;
/// Connections that are kept, at most: the one that was used longest ago goes first.
const MAX_CHANNELS: usize = 2_048;

/// Milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A client of one node.
pub type NodeClient = GeneratedClient<PeerChannel>;

/// How a node calls others. `Debug` shows no key.
#[derive(Clone)]
pub struct PeersConfig {
    /// The cluster.
    pub cluster: Uuid,
    /// This node.
    pub name: NodeName,
    /// What calls are proven with; `None` on loopback only.
    pub keys: Option<ClusterKeys>,
    /// Certificates; `None` for connections that are not encrypted.
    pub tls: Option<PeerTls>,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// The time; see [`system_clock`].
    pub clock: WallClock,
}

/// The time of this machine.
pub fn system_clock() -> WallClock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl fmt::Debug for PeersConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersConfig")
            .field("cluster", &self.cluster)
            .field("name", &self.name)
            .field("keys", &self.keys)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why a node cannot be called at all.
#[derive(Debug, Error)]
pub enum PeersError {
    /// What is said to be an address is none.
    #[error("`{address}` is no address of a node: {reason}")]
    Address {
        /// What it is.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates are wrong.
    #[error("the certificates for calls between nodes cannot be used: {0}")]
    Tls(String),
    /// The library of cryptography refuses.
    #[error("the cryptographic library failed")]
    Library,
}

impl PeersError {
    fn tls(error: tonic::transport::Error) -> Self {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        Self::Tls(source.unwrap_or_else(|| error.to_string()))
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Control,
    Data,
}

/// Connections to other nodes.
pub struct Peers {
    identity: Arc<Identity>,
    tls: Option<PeerTls>,
    connect_timeout: Duration,
    channels: Mutex<Channels>,
    /// Where nodes are now, as the gossip says.
    addresses: RwLock<BTreeMap<NodeName, String>>,
}

#[derive(Default)]
struct Channels {
    by_address: HashMap<(String, Purpose), (Channel, u64)>,
    uses: u64,
}

impl Peers {
    /// Of a node.
    ///
    /// # Errors
    /// [`PeersError::Library`], [`PeersError::Tls`].
    pub fn new(config: &PeersConfig) -> Result<Arc<Self>, PeersError> {
        if let Some(tls) = &config.tls {
            // Certificates that are wrong are to be heard of at the start.
            let endpoint = tonic::transport::Endpoint::from_static("https://127.0.0.1:1");
            endpoint.tls_config(tls.client()).map_err(PeersError::tls)?;
        }
        Ok(Arc::new(Self {
            identity: Arc::new(Identity::new(config)?),
            tls: config.tls.clone(),
            connect_timeout: config.connect_timeout,
            channels: Mutex::default(),
            addresses: RwLock::default(),
        }))
    }

    /// A client for searches and forwarded requests. It does not connect yet.
    ///
    /// # Errors
    /// [`PeersError::Address`], [`PeersError::Tls`].
    pub fn node(&self, name: &NodeName, address: &str) -> Result<NodeClient, PeersError> {
        let client = self.client(name, address, Purpose::Data)?;
        Ok(client
            .max_decoding_message_size(MAX_DATA_BYTES)
            .max_encoding_message_size(MAX_DATA_BYTES))
    }

    /// A client for everything else. It does not connect yet.
    ///
    /// # Errors
    /// [`PeersError::Address`], [`PeersError::Tls`].
    pub fn control(&self, name: &NodeName, address: &str) -> Result<NodeClient, PeersError> {
        let client = self.client(name, address, Purpose::Control)?;
        Ok(client
            .max_decoding_message_size(MAX_CONTROL_BYTES)
            .max_encoding_message_size(MAX_CONTROL_BYTES))
    }

    /// Learns where nodes are now.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeName, String>) {
        let mut known = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        if *known != addresses {
            *known = addresses;
        }
    }

    /// Where a node is, as was said last.
    pub fn address(&self, name: &NodeName) -> Option<String> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn client(
        &self,
        name: &NodeName,
        address: &str,
        purpose: Purpose,
    ) -> Result<NodeClient, PeersError> {
        let channel = self.channel(address, purpose)?;
        let to = channel::header(name.as_str())?;
        let stamp = Stamp { caller: Arc::clone(&self.identity), to };
        Ok(GeneratedClient::new(PeerChannel::new(channel, stamp)))
    }

    fn channel(&self, address: &str, purpose: Purpose) -> Result<Channel, PeersError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.uses += 1;
        let now = channels.uses;
        let key = (address.to_owned(), purpose);
        if let Some((channel, used)) = channels.by_address.get_mut(&key) {
            *used = now;
            return Ok(channel.clone());
        }
        let channel = channel::connect(address, self.tls.as_ref(), self.connect_timeout)?;
        if channels.by_address.len() >= MAX_CHANNELS {
            let oldest = channels.by_address.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                channels.by_address.remove(&oldest);
            }
        }
        channels.by_address.insert(key, (channel.clone(), now));
        Ok(channel)
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}
