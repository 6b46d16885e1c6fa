//! The parts of the cluster started, kept running, and stopped.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
use aeterna_repo::catalog::NodeStatus;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::facts::TELL_EVERY;
use super::host::Host;
use super::metrics::ClusterMetrics;
use super::parts::place_by;
use super::service::NodeService;
use super::{
    Calls, Cluster, GOSSIP_EVERY, GOSSIP_GRACE, Opening, RAFT_FOLDER, StartError, generation,
};
use crate::config::Config;
use crate::gather::{Busy, Hedging};
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
    ) -> Result<(Arc<Cluster>, Calls), StartError> {
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
        let consensus = ConsensusConfig {
            incarnation: self.claimed.incarnation,
            ..ConsensusConfig::new(
                self.folder.join(RAFT_FOLDER),
                id,
                self.shards(),
                self.name.clone(),
                grpc.to_string(),
            )
        };
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
            ..Facts::default()
        };
        let heartbeat_timeout = Duration::from_secs(config.heartbeat_timeout_seconds);
        let generation = generation();
        let gossip_config = GossipConfig {
            cluster: id,
            name: self.name.clone(),
            generation,
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
        let restores = usize::try_from(config.concurrent_restores).unwrap_or(usize::MAX);
        let copies = usize::try_from(config.cluster_replicas).unwrap_or(1);
        let rebalance = config.rebalance_auto;
        let rules = Rules { heartbeat_timeout, copies, rebalance, ..Rules::default() };
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
        manager.place_parts_with(place_by(Arc::clone(&router)));
        let supervisor = Supervisor::start(supervisor_config, parts);
        let cluster = Arc::new(Cluster {
            claim: self.claimed.claim,
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
            knows_whom_to_ask: false.into(),
            joined: Instant::now(),
            disk_high_percent: config.disk_high_percent,
            disk_critical_percent: config.disk_critical_percent,
            generation,
            cold: self.cold,
            copies,
            metrics,
            hedging: Hedging::new(
                Duration::from_millis(config.hedge_after_ms),
                config.hedge_percent,
            ),
            busy: Busy::default(),
        });
        Ok((cluster, Calls { listener: self.listener, tls: self.tls }))
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

impl Cluster {
    /// Answers other nodes until `ended` is cancelled. Returns at once; a later failure stops the node.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn serve(
        self: &Arc<Self>,
        calls: Calls,
        state: &Arc<AppState>,
        router: axum::Router,
        ended: CancellationToken,
    ) -> Result<(), StartError> {
        let service = NodeService::new(Arc::clone(self), Arc::clone(state), router);
        let service = NodeServer::new(service)
            .max_decoding_message_size(aeterna_cluster::peers::MAX_DATA_BYTES)
            .max_encoding_message_size(aeterna_cluster::peers::MAX_DATA_BYTES);
        let mut server = Server::builder();
        if let Some(tls) = &calls.tls {
            let wrong = |error: tonic::transport::Error| StartError::Calls(error.to_string());
            server = server.tls_config(tls.server()).map_err(wrong)?;
        }
        let serving = server
            .concurrency_limit_per_connection(CONCURRENT_CALLS)
            .add_service(self.guard.wrap(service))
            .serve_with_incoming_shutdown(
                // What the server is told of it itself is for listeners that it makes itself.
                TcpIncoming::from(calls.listener).with_nodelay(Some(true)),
                ended.cancelled_owned(),
            );
        let stop = state.stop.clone();
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "calls of other nodes cannot be answered any more; the node stops");
                stop.fail(format!("calls of other nodes could not be answered any more: {error}"));
            }
        });
        Ok(())
    }

    /// Tells the others what changes of this node until it has left; stops it when a part of it has
    /// failed that it cannot be a member without, or when another one has taken its name.
    pub fn run(self: &Arc<Self>, stop: Stop) {
        let (cluster, other) = (Arc::clone(self), stop.clone());
        let running = tokio::spawn(async move {
            tokio::select! {
                reason = cluster.fails() => {
                    // What it lets go of in the end is no failure.
                    if !stop.asked.is_cancelled() {
                        tracing::error!(node = %cluster.name, "{reason}; the node stops");
                        stop.fail(reason);
                    }
                }
                () = cluster.is_superseded() => {
                    tracing::error!(
                        node = %cluster.name,
                        "another node with this name has started later; the node stops"
                    );
                    // No failure: started again, it would have the other one stop.
                    stop.begin();
                }
                () = cluster.tell() => {}
                () = cluster.registers() => {}
                () = cluster.counts_changes() => {}
                () = cluster.waits_for_map() => {}
                () = stop.drained.cancelled() => {}
            }
        });
        tokio::spawn(async move {
            if let Err(error) = running.await {
                tracing::error!(%error, "the node tells nobody of itself any more; it stops");
                other.fail(format!("the node told nobody of itself any more: {error}"));
            }
        });
    }

    /// Why this node cannot go on, once it cannot.
    async fn fails(&self) -> String {
        let mut consensus = self.consensus.watch_status();
        tokio::select! {
            error = self.membership.failed() => error.to_string(),
            Ok(status) = consensus.wait_for(|status| status.stopped.is_some()) => {
                let why = status.stopped.clone().unwrap_or_default();
                format!("the shard map's log has stopped: {why}")
            }
            name = self.supervisor.failed() => format!("{name} failed"),
            () = self.belongs_to_the_past() => {
                "the Raft group was made anew by `aeterna cluster recover`, and this node is one of \
                 the group before: start it again, and it joins the new one".to_owned()
            }
        }
    }

    /// Waits until another node with this one's name has started.
    async fn is_superseded(&self) {
        let mut superseded = self.membership.superseded();
        if superseded.wait_for(|superseded| *superseded).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until a map shows that the Raft group that this disk took part in is no more.
    async fn belongs_to_the_past(&self) {
        let mut maps = self.router.watch();
        loop {
            let incarnation = maps.borrow_and_update().incarnation();
            if incarnation > self.consensus.incarnation() && self.consensus.has_a_past() {
                return;
            }
            if maps.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Tells the others what changes of this node.
    async fn tell(&self) {
        loop {
            self.membership.update(self.facts()).await;
            tokio::time::sleep(TELL_EVERY).await;
        }
    }

    /// Hands over what this node owns, within the time.
    pub async fn drain(&self, deadline: Duration) {
        self.draining.store(true, Ordering::Release);
        self.membership.update(self.facts()).await;
        self.register(NodeStatus::Draining).await;
        let drained = self.supervisor.drain(deadline).await;
        tracing::info!(
            handed_over = drained.handed_over.len(),
            left = drained.left.len(),
            closed = drained.closed,
            "drained"
        );
        self.register(NodeStatus::Stopped).await;
    }

    /// Leaves the gossip, and stops this node's part of the Raft group.
    pub async fn leave(&self) {
        self.membership.leave().await;
        self.consensus.shutdown().await;
    }
}
