//! The parts of the cluster started, kept running, and stopped.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aeterna_cluster::consensus::{Consensus, ConsensusConfig};
use aeterna_cluster::gossip::{Facts, GossipConfig, Membership};
use aeterna_cluster::peers::{Guard, Peers, PeersConfig, system_clock};
use aeterna_cluster::router::Router;
use aeterna_cluster::supervisor::rules::Rules;
use aeterna_cluster::supervisor::{
    GossipAdapter, MembershipApi, Parts, Supervisor, SupervisorConfig,
};
use aeterna_proto::node_server::NodeServer;
use aeterna_repo::RepoManager;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::facts::TELL_EVERY;
use super::host::Host;
use super::metrics::ClusterMetrics;
use super::service::NodeService;
use super::{Cluster, GOSSIP_EVERY, GOSSIP_GRACE, Opening, StartError, generation};
use crate::config::Config;
use crate::http::AppState;
use crate::stop::Stop;

/// Time to connect to another node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls of one other node that are answered at once.
const CONCURRENT_CALLS: usize = 256;

impl Opening {
    /// Takes part: gossips, follows the Raft group, and holds what the shard map gives this node.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn join(
        self,
        config: &Config,
        http: SocketAddr,
        manager: Arc<RepoManager>,
        metrics: Arc<ClusterMetrics>,
    ) -> Result<Arc<Cluster>, StartError> {
        let listening = self.listener.local_addr();
        let listening = listening
            .map_err(|source| StartError::Listen { address: config.cluster_listen.0, source })?;
        let grpc = SocketAddr::new(self.address(config, listening.ip())?, listening.port());
        let gossip = config.cluster_gossip.0;
        let advertise = SocketAddr::new(self.address(config, gossip.ip())?, gossip.port());
        let id = self.claimed.claim.cluster;
        let peers_config = PeersConfig {
            cluster: id,
            name: self.name.clone(),
            keys: self.keys.clone(),
            tls: self.tls.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            clock: system_clock(),
        };
        let calls =
            |error: aeterna_cluster::peers::PeersError| StartError::Calls(error.to_string());
        let peers = Peers::new(&peers_config).map_err(calls)?;
        let guard = Guard::new(&peers_config).map_err(calls)?;
        let consensus = ConsensusConfig::new(
            self.folder.join("raft"),
            id,
            self.shards(),
            self.name.clone(),
            grpc.to_string(),
        );
        let consensus = Arc::new(Consensus::open(consensus, Arc::clone(&peers) as _).await?);
        if self.claimed.is_founder {
            consensus.initialize().await?;
        }
        let facts = Facts {
            http: http.to_string(),
            grpc: grpc.to_string(),
            raft_id: consensus.raft_id().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            zone: config.cluster_zone.0.clone(),
            capacity: u32::try_from(config.cluster_capacity).unwrap_or(u32::MAX),
            ready: true,
            ..Facts::default()
        };
        let heartbeat_timeout = Duration::from_secs(config.heartbeat_timeout_seconds);
        let gossip_config = GossipConfig {
            cluster: id,
            name: self.name.clone(),
            generation: generation(),
            listen: gossip,
            advertise,
            join: config.cluster_join.0.clone(),
            keys: self.keys.clone(),
            interval: GOSSIP_EVERY.min(heartbeat_timeout / 6),
            heartbeat_timeout,
            grace: GOSSIP_GRACE.max(heartbeat_timeout * 3),
        };
        let membership = Arc::new(Membership::start(gossip_config, facts.clone()).await?);
        let adapter: Arc<dyn MembershipApi> =
            GossipAdapter::new(&membership, config.disk_high_percent * 10);
        let router = Router::new(
            self.name.clone(),
            id,
            self.shards(),
            Arc::clone(&adapter),
            Arc::clone(&peers) as _,
        );
        let host = Host::new(Arc::clone(&manager), Arc::clone(&metrics));
        let starts = host.starts();
        let restores = usize::try_from(config.concurrent_restores).unwrap_or(usize::MAX);
        let copies = usize::try_from(config.cluster_replicas).unwrap_or(1);
        let rules = Rules { heartbeat_timeout, copies, ..Rules::default() };
        let supervisor_config = SupervisorConfig {
            rules,
            activations_at_once: restores,
            hand_overs_at_once: restores,
            ..SupervisorConfig::default()
        };
        let parts = Parts {
            consensus: Arc::clone(&consensus) as _,
            membership: adapter,
            host: Arc::new(host),
            peers: Arc::clone(&peers) as _,
            router: Arc::clone(&router),
        };
        let supervisor = Supervisor::start(supervisor_config, parts);
        let cluster = Arc::new(Cluster {
            id,
            name: self.name,
            data: config.data.clone(),
            grpc,
            constant_facts: facts,
            draining: false.into(),
            manager,
            consensus,
            membership,
            peers,
            guard,
            router,
            supervisor,
            disk_high_percent: config.disk_high_percent,
            metrics,
            starts,
            tls: self.tls,
            calls: Some(self.listener).into(),
        });
        tokio::spawn(tell(Arc::downgrade(&cluster)));
        Ok(cluster)
    }

    /// Where others reach what listens on an address.
    fn address(&self, config: &Config, listens_on: IpAddr) -> Result<IpAddr, StartError> {
        match config.pod_ip.0 {
            Some(address) if !listens_on.is_loopback() => Ok(address),
            _ if listens_on.is_unspecified() => Err(StartError::NoAddress),
            _ => Ok(listens_on),
        }
    }
}

/// Tells the others what changes of this node, for as long as it is there.
async fn tell(cluster: Weak<Cluster>) {
    while let Some(cluster) = cluster.upgrade() {
        let facts = cluster.facts();
        cluster.membership.update(facts).await;
        drop(cluster);
        tokio::time::sleep(TELL_EVERY).await;
    }
}

impl Cluster {
    /// Answers other nodes until `ended` is cancelled. Returns at once; a later failure stops the node.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn serve(
        self: &Arc<Self>,
        state: &Arc<AppState>,
        router: axum::Router,
        ended: CancellationToken,
    ) -> Result<(), StartError> {
        let listener = self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(listener) = listener else { return Ok(()) };
        let service = NodeService::new(Arc::clone(self), state, router);
        let service = NodeServer::new(service)
            .max_decoding_message_size(aeterna_cluster::peers::MAX_DATA_BYTES)
            .max_encoding_message_size(aeterna_cluster::peers::MAX_DATA_BYTES);
        let mut server = Server::builder();
        if let Some(tls) = &self.tls {
            let wrong = |error: tonic::transport::Error| StartError::Calls(error.to_string());
            server = server.tls_config(tls.server()).map_err(wrong)?;
        }
        let serving = server
            .concurrency_limit_per_connection(CONCURRENT_CALLS)
            .tcp_nodelay(true)
            .add_service(self.guard.wrap(service))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                ended.cancelled_owned(),
            );
        let stop = state.stop.clone();
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "calls of other nodes cannot be answered any more; the node stops");
                stop.asked.cancel();
            }
        });
        Ok(())
    }

    /// Stops the node when another one has taken its name, or gossip has ended.
    pub fn watch(self: &Arc<Self>, stop: Stop) {
        let mut superseded = self.membership.superseded();
        let membership = Arc::clone(&self.membership);
        let name = self.name.clone();
        tokio::spawn(async move {
            tokio::select! {
                seen = superseded.wait_for(|superseded| *superseded) => {
                    if seen.is_ok() {
                        tracing::error!(%name, "another node with this name has started later; this one stops");
                    }
                }
                error = membership.failed() => {
                    tracing::error!(%error, "the node cannot be a member of the cluster any more and stops");
                }
                () = stop.asked.cancelled() => return,
            }
            stop.asked.cancel();
        });
    }

    /// Hands over what this node owns, within the time.
    pub async fn drain(&self, deadline: Duration) {
        self.draining.store(true, Ordering::Release);
        self.membership.update(self.facts()).await;
        let drained = self.supervisor.drain(deadline).await;
        tracing::info!(
            handed_over = drained.handed_over.len(),
            left = drained.left.len(),
            closed = drained.closed,
            "drained"
        );
    }

    /// Leaves the gossip, and stops this node's part of the Raft group.
    pub async fn leave(&self) {
        self.membership.leave().await;
        self.consensus.shutdown().await;
    }
}
