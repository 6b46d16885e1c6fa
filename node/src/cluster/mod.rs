//! This node as one of a cluster: the parts wired together, and taken apart again.
//!
//! Who owns which shard is agreed on by a Raft group (`consensus`), who is alive is gossiped
//! (`membership`), and the supervisor brings what this node holds in line with both. Other nodes call
//! this one through the service (`service`); what belongs elsewhere is forwarded (`forward`).

mod changes;
mod facts;
mod forward;
mod host;
mod join;
pub mod metrics;
mod operations;
mod parts;
pub mod recover;
mod registry;
mod service;
mod start;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aeterna_cluster::consensus::Consensus;
use aeterna_cluster::gossip::seal::ClusterKeys;
use aeterna_cluster::gossip::{Facts, Membership, Peer};
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::peers::{Answers, Guard, NodeClient, PeerTls, Peers};
use aeterna_cluster::router::{Router, Target, Unavailable};
use aeterna_cluster::shard_map::ShardMap;
use aeterna_cluster::supervisor::Supervisor;
use aeterna_index::RepositoryId;
use aeterna_proto as proto;
use aeterna_repo::RepoManager;
use aeterna_repo::cold_storage::{ClusterClaim, ColdStorage};
use tokio::net::TcpListener;
use tonic::Status;
use uuid::Uuid;

pub use self::forward::{Forwarded, NewId, add_at_owner, to_owner};
use self::metrics::ClusterMetrics;
pub use self::parts::{not_indexed_further, remove_further};
pub use self::start::{StartError, cold_config};
use crate::api::cluster::Failure;
use crate::api::time_of;
use crate::config::Config;
use crate::gather::{Busy, Hedging};
use crate::http::starting::Starting;

/// Folder of the cluster's files in the data folder.
const FOLDER: &str = "cluster";
/// Folder of the Raft group's files in that.
const RAFT_FOLDER: &str = "raft";
/// How often nodes gossip.
const GOSSIP_EVERY: Duration = Duration::from_millis(500);
/// How long a node that has just started waits to hear of others before it says that it is ready: gossip with
/// any of them tells of all. In a cluster that is started node by node each waits so long.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// As long nodes that begin a cluster together may have no map.
const MAP_GRACE: Duration = Duration::from_secs(5);
/// How long the first shard map may take before the log says what it may be for.
const MAP_PATIENCE: Duration = Duration::from_secs(15);
/// How long dead nodes are remembered by gossip.
const GOSSIP_GRACE: Duration = Duration::from_secs(600);
/// Ids that are tried for a new repository until one falls on a shard that is served.
const ID_TRIES: usize = 64;
/// Without a look for a newer shard map for so long the process was paused, or is overloaded.
const ATTENTION: Duration = Duration::from_secs(2);
/// Time to get a newer shard map.
const REFRESH: Duration = Duration::from_secs(5);
/// Metadata of a refusal that says which version of the map the node has.
const MAP_VERSION: &str = "aeterna-map-version";

/// What is known and open before the node's repositories are.
pub struct Opening {
    folder: PathBuf,
    claimed: start::Claimed,
    name: NodeName,
    keys: Option<ClusterKeys>,
    tls: Option<PeerTls>,
    listener: TcpListener,
    /// Cold storage of the cluster.
    pub cold: Arc<ColdStorage>,
}

impl Opening {
    /// Learns which cluster this is, and takes the address for other nodes' calls. A disk that does not know waits
    /// for cold storage, and `starting` tells of it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config, starting: &Starting) -> Result<Self, StartError> {
        let name = start::name(config)?;
        let keys = start::keys(config)?;
        let tls = start::tls(config)?;
        let listen = config.cluster_listen.0;
        let leaves = |address: &&SocketAddr| !address.ip().is_loopback();
        if let (None, Some(address)) =
            (&keys, [listen, config.cluster_gossip.0].iter().find(leaves))
        {
            return Err(StartError::NoKey(*address));
        }
        let cold =
            Arc::new(ColdStorage::open_with(start::cold_config(config)?, config.cold_limits())?);
        let folder = config.data.join(FOLDER);
        let claimed = start::claim(&folder, &cold, (&name, config), starting).await?;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| StartError::Listen { address: listen, source })?;
        Ok(Self { folder, claimed, name, keys, tls, listener, cold })
    }

    /// The cluster's identity.
    pub fn id(&self) -> Uuid {
        self.claimed.claim.cluster
    }

    /// Shards of the cluster.
    pub fn shards(&self) -> u32 {
        self.claimed.claim.shards
    }
}

/// This node's part of the cluster.
pub struct Cluster {
    claim: ClusterClaim,
    name: NodeName,
    data: PathBuf,
    grpc: SocketAddr,
    constant_facts: Facts,
    draining: AtomicBool,
    manager: Arc<RepoManager>,
    consensus: Arc<Consensus>,
    membership: Arc<Membership>,
    peers: Arc<Peers>,
    guard: Arc<Guard>,
    router: Arc<Router>,
    supervisor: Supervisor,
    knows_whom_to_ask: AtomicBool,
    joined: Instant,
    disk_high_percent: u64,
    disk_critical_percent: u64,
    generation: u64,
    cold: Arc<ColdStorage>,
    /// How many nodes are to hold each shard.
    copies: usize,
    metrics: Arc<ClusterMetrics>,
    hedging: Hedging,
    busy: Busy,
}

/// Where calls of other nodes come to, before they are answered.
pub struct Calls {
    listener: TcpListener,
    tls: Option<PeerTls>,
}

/// Where a repository is.
#[derive(Debug)]
pub enum Place {
    /// On this node.
    Here,
    /// On another.
    There {
        /// Its name.
        node: NodeName,
        /// Address of its calls.
        address: String,
        /// The shard.
        shard: proto::ShardAt,
    },
    /// Nowhere now; why.
    Nowhere(String),
}

impl Cluster {
    /// The cluster's identity.
    pub fn id(&self) -> Uuid {
        self.claim.cluster
    }

    /// This node's name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Where other nodes call this one.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where gossip for this node goes.
    pub fn gossip(&self) -> SocketAddr {
        self.membership.address()
    }

    /// The newest shard map that this node has.
    pub fn map(&self) -> Arc<ShardMap> {
        self.router.map()
    }

    /// Finds the owners of shards.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<ClusterMetrics> {
        &self.metrics
    }

    /// When a slow node is not waited for alone.
    pub fn hedging(&self) -> &Hedging {
        &self.hedging
    }

    /// Nodes that are not asked for a while.
    pub fn busy(&self) -> &Busy {
        &self.busy
    }

    /// What answers the calls that the cluster itself makes.
    fn answers(&self) -> Answers {
        Answers {
            consensus: Arc::clone(&self.consensus),
            router: Arc::clone(&self.router),
            proposals: Arc::clone(self.supervisor.proposals()),
        }
    }

    /// For searches and forwarded requests of another node.
    ///
    /// # Errors
    /// When what gossip says is no address.
    pub fn client(&self, node: &NodeName, address: &str) -> Result<NodeClient, Status> {
        self.peers.node(node, address).map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Gets the newest shard map where nobody has looked for one for long: after a pause of the process
    /// what it knows may be old, and others may own what it owned.
    pub async fn be_attentive(&self) {
        if self.router.unattended_for() > ATTENTION
            && let Err(error) = self.router.refresh(self.map().version() + 1, REFRESH).await
        {
            tracing::debug!(%error, "no newer shard map after a pause");
        }
    }

    /// Whether this node has known since its start, at some time, whom to ask for every shard that is not
    /// down: before that its searches would miss what others have. It does not look for long
    /// ([`LOOK_AROUND`]): who has not been heard of by then does not live yet, or not any more.
    pub fn knows_whom_to_ask(&self) -> bool {
        if self.knows_whom_to_ask.load(Ordering::Acquire) {
            return true;
        }
        let plan = self.router.plan_search();
        let is_down = |(_, why): &(ShardId, Unavailable)| matches!(why, Unavailable::Down(_));
        // The map on its disk is of before the start: others know better.
        let is_other = |name: &NodeName| *name != self.name;
        let has_others = self.map().members().keys().any(is_other);
        let hears_others =
            || self.peers().values().any(|peer| is_other(&peer.name) && !peer.gone());
        let is_newest = plan.map_version >= self.router.newest_heard_of();
        let knows =
            is_newest && (!has_others || hears_others()) && plan.unavailable.iter().all(is_down)
                || self.joined.elapsed() >= LOOK_AROUND;
        if knows {
            self.knows_whom_to_ask.store(true, Ordering::Release);
        }
        knows
    }

    /// Why this node has no shard map, as long as it never had one: it can answer nothing then.
    pub fn lacks_map(&self) -> Option<String> {
        let ClusterClaim { cluster, founder_name, made_at, .. } = &self.claim;
        // Whoever begins the group has no map before it has given itself a place in it.
        let has_none = self.map().version() == 0 && !self.consensus.status().is_member();
        has_none.then(|| {
            if self.joined.elapsed() < MAP_GRACE {
                return "the node has no shard map yet, and has just started".to_owned();
            }
            format!(
                "there is no shard map yet: cold storage is that of the cluster {cluster}, which {founder_name} \
                 began at {}, and no node that has its map has been heard of; if this is to be one of that \
                 cluster, start the others and name them in `cluster.join`; if it is another one, give it a \
                 bucket or `cold_storage.prefix` of its own, a database of its own, and empty disks",
                time_of(*made_at)
            )
        })
    }

    /// Says again and again in the log that there is no map, until there is one.
    async fn waits_for_map(&self) {
        loop {
            tokio::time::sleep(MAP_PATIENCE).await;
            match self.lacks_map() {
                Some(why) => tracing::warn!("{why}"),
                None => return std::future::pending().await,
            }
        }
    }

    /// The nodes that gossip tells of. The channel that they come from is not to be borrowed from for longer:
    /// a second borrow meanwhile waits for whoever sends, who waits for the first.
    fn peers(&self) -> Arc<BTreeMap<NodeName, Peer>> {
        let peers = self.membership.peers();
        Arc::clone(&peers.borrow())
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn last_failure(&self) -> Option<Failure> {
        let failure = self.supervisor.status().failures.into_iter().next()?;
        Some(Failure { at: time_of(failure.at.into()), message: failure.what })
    }

    /// Where a repository is, by the shard map.
    pub fn place_of(&self, id: RepositoryId) -> Place {
        let number = self.manager.index().number_of(id);
        let again = "try again in a moment";
        let owner = match self.router.owner(ShardId(number)) {
            Ok(owner) => owner,
            Err(why) => {
                return Place::Nowhere(format!("shard {number} of the repository: {why}; {again}"));
            }
        };
        let shard = proto::ShardAt { shard: number, epoch: owner.epoch.0 };
        let Target { name: node, address, .. } = owner.target;
        if node != self.name {
            return Place::There { node, address, shard };
        }
        match self.manager.holds(number) {
            Some(epoch) if epoch == owner.epoch.0 => Place::Here,
            _ => Place::Nowhere(format!(
                "shard {number} of the repository is being restored on {node}; {again}"
            )),
        }
    }

    /// An id for a new repository, on a shard that is served if there is one.
    pub fn place_for_new(&self) -> (RepositoryId, Place) {
        let mut tries = ID_TRIES;
        loop {
            let id = RepositoryId(Uuid::now_v7());
            let place = self.place_of(id);
            let is_served = match &place {
                Place::Here => true,
                Place::There { node, shard, .. } => self.says_it_serves(node, shard.shard),
                Place::Nowhere(_) => false,
            };
            tries -= 1;
            if is_served || tries == 0 {
                return (id, place);
            }
        }
    }

    fn says_it_serves(&self, node: &NodeName, shard: u32) -> bool {
        let of = |peer: &Peer| peer.facts.shard_bytes.contains_key(&ShardId(shard));
        self.peers().get(node).is_some_and(of)
    }

    /// Refuses what is for a shard that this node does not own, or not under that epoch.
    fn check_owned(&self, shard: proto::ShardAt) -> Result<(), Status> {
        if self.manager.holds(shard.shard) == Some(shard.epoch) {
            return Ok(());
        }
        let mut status = Status::failed_precondition(format!(
            "{} does not serve shard {} under epoch {}",
            self.name, shard.shard, shard.epoch
        ));
        if let Ok(version) = self.map().version().to_string().parse() {
            status.metadata_mut().insert(MAP_VERSION, version);
        }
        Err(status)
    }
}

/// The version of the map that whoever refused has, or the next one.
fn map_version_of(status: &Status) -> u64 {
    let version = status.metadata().get(MAP_VERSION).and_then(|value| value.to_str().ok());
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Grows with each start of this node.
fn generation() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
