//! The Raft group made anew after the majority of its voters is lost for ever, on a node that does not
//! run.
//!
//! The map is the newest that can be had: this disk's log, or that of a node which runs; where there is
//! none, it begins without owners. Cold storage says who does it, so that two survivors cannot both,
//! and with the catalog how high epochs have to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::consensus::{RaftDisk, RaftId, RaftNode, Remains};
use aeterna_cluster::gossip::{Facts, GossipConfig, Membership};
use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::peers::{Peers, PeersConfig, system_clock};
use aeterna_cluster::shard_map::{Command, ShardMap};
use aeterna_cluster::supervisor::{PeerApi, Proposed};
use aeterna_repo::DatabaseUrl;
use aeterna_repo::catalog::Catalog;
use aeterna_repo::cold_storage::{ClusterClaim, ColdStorage, Recovery};
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::start::{self, StartError};
use super::{FOLDER, GOSSIP_EVERY, GOSSIP_GRACE, RAFT_FOLDER, generation, start::Known};
use crate::config::Config;

/// How long it is listened for nodes that run.
const LISTEN: Duration = Duration::from_secs(4);
/// How long one of them may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Time to connect to one of them.
const CONNECT: Duration = Duration::from_secs(2);
/// Connections to the catalog, and events that are kept: nothing is changed in it.
const CATALOG: (u32, u32) = (1, 1);

/// Why the group is not made anew.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// As when a node starts.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no cluster.
    #[error("this node is alone; set `cluster.join` as for `aeterna serve`")]
    Alone,
    /// Nothing was ever claimed.
    #[error("no cluster was founded in this cold storage: start the nodes, and one founds it")]
    NoCluster,
    /// The group works.
    #[error(
        "{leader} leads and the voters agree on changes: there is nothing to recover; start this node as usual"
    )]
    Works {
        /// Who leads.
        leader: NodeName,
    },
    /// It will work.
    #[error(
        "{reachable} of {voters} voters can be reached, this node counted ({names}): that is a majority; start this node as usual"
    )]
    Majority {
        /// How many.
        reachable: usize,
        /// Of how many.
        voters: usize,
        /// Which.
        names: String,
    },
    /// Another node was first.
    #[error(
        "{by} has made the group anew already (recovery {number}): start this node as usual, and it joins"
    )]
    Done {
        /// Its name.
        by: String,
        /// Which time it was.
        number: u32,
    },
    /// The catalog cannot be read.
    #[error("the catalog, which has the epochs of shards: {0}")]
    Catalog(#[from] aeterna_repo::catalog::CatalogError),
}

impl From<aeterna_cluster::consensus::ConsensusError> for RecoverError {
    fn from(error: aeterna_cluster::consensus::ConsensusError) -> Self {
        Self::Start(error.into())
    }
}

impl From<aeterna_repo::cold_storage::ColdError> for RecoverError {
    fn from(error: aeterna_repo::cold_storage::ColdError) -> Self {
        Self::Start(error.into())
    }
}

/// Where the map of the new group comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This disk's part of the old group.
    Disk,
    /// A node that runs.
    Node(NodeName),
    /// Nothing has one: shards are owned by nobody until nodes take them.
    Nothing,
}

/// What is to be done; nothing has been changed yet, and nobody else can open the disk.
pub struct Recovering {
    disk: RaftDisk,
    remains: Option<Remains>,
    folder: PathBuf,
    node: RaftNode,
    cold: ColdStorage,
    claim: ClusterClaim,
    mine: Recovery,
    is_claimed: bool,
    /// Where the map comes from.
    pub source: Source,
    /// The map as it is known, before it is made that of the new group.
    pub known: ShardMap,
    /// The map of the new group.
    pub map: ShardMap,
    /// Voters of the old group, as far as this disk knows.
    pub voters: BTreeMap<RaftId, RaftNode>,
    /// Nodes that run now.
    pub running: BTreeSet<NodeName>,
}

impl Recovering {
    /// Looks at what is left, and whether it is needed at all.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub async fn prepare(config: &Config) -> Result<Self, RecoverError> {
        if config.cluster_join.0.is_empty() {
            return Err(RecoverError::Alone);
        }
        let name = start::name(config)?;
        let cold = ColdStorage::open(start::cold_config(config)?)?;
        let folder = config.data.join(FOLDER);
        let claim = start::known_cluster(&folder, &cold, config).await?;
        let claim = claim.ok_or(RecoverError::NoCluster)?;
        let disk = RaftDisk::open(&folder.join(RAFT_FOLDER)).await?;
        match Self::look(config, name, &disk, &cold, &claim, &folder).await {
            Ok(found) => Ok(found.with(disk, cold, claim, folder)),
            Err(error) => {
                disk.close().await;
                Err(error)
            }
        }
    }

    async fn look(
        config: &Config,
        name: NodeName,
        disk: &RaftDisk,
        cold: &ColdStorage,
        claim: &ClusterClaim,
        folder: &std::path::Path,
    ) -> Result<Found, RecoverError> {
        let token = start::token(folder)?;
        let remains = disk.remains(claim.cluster, claim.shards).await?;
        let incarnation = remains.as_ref().map_or(0, |remains| remains.incarnation);
        let newest = cold.newest_recovery().await?;
        let number = newest.as_ref().map_or(0, |newest| newest.number);
        let later = newest.filter(|_| number > incarnation);
        let has_past = remains.as_ref().is_some_and(|remains| remains.map.is_some());
        // One that this disk has begun, and that a crash has kept it from finishing.
        let begun = match later {
            Some(other) if other.founder != token && has_past => {
                return Err(RecoverError::Done { by: other.founder_name, number });
            }
            later => later.filter(|later| later.founder == token),
        };
        let around = Around::look(config, &name, claim).await?;
        around.check(remains.as_ref())?;
        let epochs = epochs(config, cold).await?;
        let (source, known) = around.newest_map(remains.as_ref(), claim);
        let is_claimed = begun.is_some();
        let mine = begun.unwrap_or_else(|| Recovery {
            number: number.max(known.incarnation()) + 1,
            cluster: claim.cluster,
            founder: token,
            founder_name: name.to_string(),
            made_at: OffsetDateTime::now_utc(),
        });
        let map = known.clone().made_anew(mine.number, &epochs);
        // Gossip tells the group where this disk is when the node runs.
        let address = config.cluster_listen.0.to_string();
        let node = RaftNode { name, address };
        let running = around.answered.into_keys().collect();
        Ok(Found { remains, node, mine, is_claimed, source, known, map, running })
    }

    /// Does it.
    ///
    /// # Errors
    /// [`RecoverError::Done`] where another node was first; cold storage or a disk that fails. It may be
    /// asked for again after any error.
    pub async fn carry_out(self) -> Result<(), RecoverError> {
        if !self.is_claimed {
            let holds = self.cold.claim_recovery(&self.mine).await?;
            if holds.founder != self.mine.founder {
                self.disk.close().await;
                let (by, number) = (holds.founder_name, holds.number);
                return Err(RecoverError::Done { by, number });
            }
        }
        let number = self.mine.number;
        self.disk.make_anew(self.node, number, self.map, self.remains.as_ref()).await?;
        Ok(Known { claim: self.claim, recovery: Some(self.mine) }.write(&self.folder)?)
    }

    /// Leaves everything as it is.
    pub async fn give_up(self) {
        self.disk.close().await;
    }
}

/// What [`Recovering::look`] comes to.
struct Found {
    remains: Option<Remains>,
    node: RaftNode,
    mine: Recovery,
    is_claimed: bool,
    source: Source,
    known: ShardMap,
    map: ShardMap,
    running: BTreeSet<NodeName>,
}

impl Found {
    fn with(
        self,
        disk: RaftDisk,
        cold: ColdStorage,
        claim: ClusterClaim,
        folder: PathBuf,
    ) -> Recovering {
        let Self { remains, node, mine, is_claimed, source, known, map, running } = self;
        let voters = remains.as_ref().map(|remains| remains.voters.clone()).unwrap_or_default();
        Recovering {
            disk,
            remains,
            folder,
            node,
            cold,
            claim,
            mine,
            is_claimed,
            source,
            known,
            map,
            voters,
            running,
        }
    }
}

/// The highest epoch of each shard that cold storage or the catalog has seen.
async fn epochs(
    config: &Config,
    cold: &ColdStorage,
) -> Result<BTreeMap<ShardId, Epoch>, RecoverError> {
    let (connections, events) = CATALOG;
    let url = DatabaseUrl::new(config.database_url.reveal());
    let catalog = Catalog::open(&url, connections, events).await?;
    let in_catalog = catalog.epochs().await;
    catalog.close().await;
    let mut epochs: BTreeMap<ShardId, Epoch> = BTreeMap::new();
    for (shard, epoch) in in_catalog?.into_iter().chain(cold.highest_epochs().await?) {
        let highest = epochs.entry(ShardId(shard)).or_default();
        *highest = (*highest).max(Epoch(epoch));
    }
    Ok(epochs)
}

/// A node that runs and has answered.
struct Answered {
    raft_id: RaftId,
    /// Its map, where it has one.
    map: Option<ShardMap>,
    /// Whether it leads, by the word of a majority.
    leads: bool,
}

/// Who runs now.
struct Around {
    answered: BTreeMap<NodeName, Answered>,
}

impl Around {
    /// Listens to the gossip for a few seconds, and asks everyone who is heard of.
    async fn look(
        config: &Config,
        name: &NodeName,
        claim: &ClusterClaim,
    ) -> Result<Self, RecoverError> {
        let keys = start::keys(config)?;
        let calls =
            |error: aeterna_cluster::peers::PeersError| StartError::Calls(error.to_string());
        let peers = Peers::new(&PeersConfig {
            cluster: claim.cluster,
            name: name.clone(),
            keys: keys.clone(),
            tls: start::tls(config)?,
            connect_timeout: CONNECT,
            clock: system_clock(),
        });
        let peers = peers.map_err(calls)?;
        let heartbeat_timeout = Duration::from_secs(config.heartbeat_timeout_seconds);
        let listen = config.cluster_gossip.0;
        let address = config.pod_ip.0.filter(|_| !listen.ip().is_loopback());
        let gossip = GossipConfig {
            cluster: claim.cluster,
            name: name.clone(),
            generation: generation(),
            listen,
            advertise: SocketAddr::new(address.unwrap_or(listen.ip()), listen.port()),
            join: config.cluster_join.0.clone(),
            keys,
            interval: GOSSIP_EVERY.min(heartbeat_timeout / 6),
            heartbeat_timeout,
            grace: GOSSIP_GRACE.max(heartbeat_timeout * 3),
        };
        // Not ready: nobody gives it anything, nor asks it.
        let facts = Facts {
            http: config.listen.0.to_string(),
            grpc: config.cluster_listen.0.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Facts::default()
        };
        let membership = Membership::start(gossip, facts).await.map_err(StartError::from)?;
        tokio::time::sleep(LISTEN).await;
        let heard_of = membership.peers().borrow().clone();
        drop(membership);
        let others = heard_of.iter().filter(|(other, peer)| *other != name && !peer.gone());
        let asked = others.map(async |(other, peer)| {
            let node = RaftNode { name: other.clone(), address: peer.facts.grpc.clone() };
            let answered = ask(&peers, &node, RaftId(peer.facts.raft_id)).await;
            answered.map(|answered| (other.clone(), answered))
        });
        Ok(Self { answered: join_all(asked).await.into_iter().flatten().collect() })
    }

    /// Refuses where the old group works, or would if this node were started.
    fn check(&self, remains: Option<&Remains>) -> Result<(), RecoverError> {
        if let Some((leader, _)) = self.answered.iter().find(|(_, node)| node.leads) {
            return Err(RecoverError::Works { leader: leader.clone() });
        }
        let Some(remains) = remains else { return Ok(()) };
        let is_there = |id: &RaftId| {
            *id == remains.raft_id || self.answered.values().any(|node| node.raft_id == *id)
        };
        let reachable = remains.voters.iter().filter(|(id, _)| is_there(id));
        let names: Vec<&str> = reachable.map(|(_, node)| node.name.as_str()).collect();
        let (reachable, voters) = (names.len(), remains.voters.len());
        if reachable * 2 > voters {
            return Err(RecoverError::Majority { reachable, voters, names: names.join(", ") });
        }
        Ok(())
    }

    /// The newest map of this disk and of everyone who runs.
    fn newest_map(&self, remains: Option<&Remains>, claim: &ClusterClaim) -> (Source, ShardMap) {
        let on_disk =
            remains.and_then(|remains| remains.map.as_ref()).map(|map| (Source::Disk, map));
        let fits = |map: &&ShardMap| {
            map.cluster() == claim.cluster && map.shards().len() == claim.shards as usize
        };
        let others = self.answered.iter().filter_map(|(name, node)| {
            Some((Source::Node(name.clone()), node.map.as_ref().filter(fits)?))
        });
        let newest = on_disk.into_iter().chain(others).max_by_key(|(_, map)| map.version());
        match newest.filter(|(_, map)| map.version() > 0) {
            Some((source, map)) => (source, map.clone()),
            None => (Source::Nothing, ShardMap::new(claim.cluster, claim.shards)),
        }
    }
}

/// Asks a node for its map, and whether it leads: by a command that a leader refuses once a majority
/// has agreed on that, and that changes nothing.
async fn ask(peers: &Arc<Peers>, node: &RaftNode, raft_id: RaftId) -> Option<Answered> {
    let map = match peers.pull_map(node, 0, ANSWER).await {
        Ok(map) => map,
        Err(error) => {
            tracing::debug!(%error, "a node does not answer");
            return None;
        }
    };
    let nothing = Command::AbortMove { shard: ShardId(u32::MAX), seen: Epoch::default() };
    let proposed = peers.propose(node, &nothing, ANSWER).await;
    Some(Answered { raft_id, map, leads: matches!(proposed, Ok(Proposed::Applied(_))) })
}
