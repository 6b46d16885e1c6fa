//! A node's part in the gossip, from start to end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::config::{GossipConfig, GossipError};
use super::counters::{Counters, Counting};
use super::facts::Facts;
use super::observe::{Observer, Peer, Sight};
use super::resolve::{Resolve, SystemResolver};
use super::seal::{ClusterKeys, SealError};
use super::seeds::Seed;
use super::transport::{SealedTransport, Seals};
use super::{discovery, keys};
use crate::name::NodeName;

/// From which phi on chitchat takes a node for dead: readers may avoid it then.
const PHI_THRESHOLD: f64 = 8.0;
/// Heartbeats whose intervals are remembered of each node.
const PHI_WINDOW: usize = 200;
/// Peers that are told of something urgent at once; they tell others.
const TOLD_AT_ONCE: usize = 4;
/// News is looked at at once, but not more often than this part of the interval.
const NEWS_PER_INTERVAL: u32 = 5;

type Peers = Arc<BTreeMap<NodeName, Peer>>;

/// A node's part in the gossip. Dropping it ends that without a word, as a crash would.
pub struct Membership {
    handle: Arc<ChitchatHandle>,
    chitchat: Arc<Mutex<Chitchat>>,
    address: SocketAddr,
    name: NodeName,
    interval: Duration,
    peers: watch::Receiver<Peers>,
    superseded: watch::Receiver<bool>,
    counting: Arc<Counting>,
    seals: Arc<Seals>,
    tasks: Vec<AbortHandle>,
}

impl Membership {
    /// Listens, and begins to look for the others; names are asked of the system's name servers.
    ///
    /// # Errors
    /// See [`GossipError`]. That nobody answers is no error: others may come later.
    pub async fn start(config: GossipConfig, facts: Facts) -> Result<Self, GossipError> {
        Self::start_with(config, facts, Arc::new(SystemResolver::default())).await
    }

    /// As [`Self::start`], with names asked of someone else.
    ///
    /// # Errors
    /// See [`GossipError`].
    pub async fn start_with(
        config: GossipConfig,
        facts: Facts,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, GossipError> {
        config.check()?;
        let entries = facts.checked_entries()?;
        let counting = Arc::new(Counting::default());
        let (socket, address) = bind(&config).await?;
        let seeds: Result<Vec<Seed>, _> =
            config.join.iter().map(|seed| Seed::parse(seed, address.port())).collect();
        let seeds = seeds?;
        let without = || ClusterKeys::without_secret(config.cluster);
        let cluster_keys = config.keys.clone().unwrap_or_else(without);
        let seals = Arc::new(Seals::new(&cluster_keys, config.cluster)?);
        let transport = SealedTransport::new(socket, Arc::clone(&seals), Arc::clone(&counting));
        let transport = transport.await.map_err(ended)?;
        let chitchat_config = chitchat_config(&config, address);
        let handle = spawn_chitchat(chitchat_config, entries, &transport).await.map_err(ended)?;
        let me = handle.chitchat_id().clone();
        let chitchat = handle.chitchat();

        let observer = Observer::new(
            me,
            config.interval,
            config.heartbeat_timeout,
            PHI_THRESHOLD,
            Arc::clone(&counting),
        );
        let (watcher, peers, superseded) =
            Watcher::new(observer, Arc::clone(&chitchat), config.interval).await;
        let mut membership = Self {
            handle: Arc::new(handle),
            chitchat,
            address,
            name: config.name,
            interval: config.interval,
            peers,
            superseded,
            counting,
            seals,
            tasks: vec![tokio::spawn(watcher.run()).abort_handle()],
        };
        membership.discover(seeds, resolver, config.listen);
        Ok(membership)
    }

    fn discover(&mut self, seeds: Vec<Seed>, resolver: Arc<dyn Resolve>, listen: SocketAddr) {
        if seeds.is_empty() {
            return;
        }
        let (sender, found) = watch::channel(discovery::Found::new());
        for seed in seeds {
            let finder = discovery::Finder {
                seed,
                resolver: Arc::clone(&resolver),
                over_ipv6: listen.is_ipv6(),
                me: self.name.clone(),
                peers: self.peers(),
            };
            self.tasks.push(tokio::spawn(finder.run(sender.clone())).abort_handle());
        }
        let listen = SocketAddr::new(listen.ip(), self.address.port());
        let myself = BTreeSet::from([self.address, listen]);
        let (handle, name) = (Arc::clone(&self.handle), self.name.clone());
        let asking = discovery::ask(handle, name, myself, self.peers(), found, self.interval);
        self.tasks.push(tokio::spawn(asking).abort_handle());
    }

    /// Where others reach this node's gossip.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every node that is known with enough facts to talk to it, this one included. Renewed at least
    /// once an interval: ages grow by themselves.
    pub fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.clone()
    }

    /// Tells others what has changed. Whoever must know of a newer shard map, readiness or a drain is
    /// told at once. What peers would not believe is left as it was, with a line in the log.
    pub async fn update(&self, facts: Facts) {
        let mut urgent = false;
        {
            let mut chitchat = self.chitchat.lock().await;
            let state = chitchat.self_node_state();
            for (key, value) in facts.entries_to_replace(state.key_values().map(|(key, _)| key)) {
                if state.get(&key) == Some(value.as_str()) {
                    continue;
                }
                if let Err(error) = Facts::default().take(&key, &value) {
                    self.counting.hostile_value(self.name.as_str(), &error);
                    continue;
                }
                urgent |= [keys::MAP_VERSION, keys::READY, keys::DRAINING].contains(&key.as_str());
                state.set(key, value);
            }
        }
        if urgent {
            self.tell_at_once();
        }
    }

    fn tell_at_once(&self) {
        let peers = Arc::clone(&self.peers.borrow());
        let others = peers.values().filter(|peer| peer.name != self.name && peer.alive());
        let others: Vec<SocketAddr> = others.map(|peer| peer.gossip).collect();
        let Some(first) = others.len().checked_sub(1).map(|last| self.anywhere(last)) else {
            return;
        };
        for address in others.iter().cycle().skip(first).take(others.len().min(TOLD_AT_ONCE)) {
            // When chitchat has ended, `failed` says so.
            let _ = self.handle.gossip(*address);
        }
    }

    /// A number up to `last`, another each time.
    fn anywhere(&self, last: usize) -> usize {
        let sent = self.counting.read().packets_sent;
        usize::try_from(sent).unwrap_or_default() % (last + 1)
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counting.read()
    }

    /// Whether a later start of a node with this one's name lived at the same time as this one: this
    /// one must stop. It never turns back to false.
    pub fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.clone()
    }

    /// Seals with other keys from now on: see [`ClusterKeys`] for how all nodes get there.
    ///
    /// # Errors
    /// When the cryptographic library fails; the former keys are still in use then.
    pub fn replace_keys(&self, keys: &ClusterKeys) -> Result<(), SealError> {
        self.seals.replace(keys)
    }

    /// Waits until gossip has ended by itself, which it should not: the node knows nobody from then
    /// on, and must restart.
    pub async fn failed(&self) -> GossipError {
        match self.handle.termination_watcher().await {
            Ok(()) => GossipError::Ended("it was ended".to_owned()),
            Err(error) => ended(error),
        }
    }

    /// Tells peers that this node goes, and ends.
    pub async fn leave(&self) {
        self.chitchat.lock().await.self_node_state().set(keys::LEFT, "1");
        for _ in 0..2 {
            self.tell_at_once();
            tokio::time::sleep(self.interval).await;
        }
        self.stop();
    }

    fn stop(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.handle.abort();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop();
    }
}

fn ended(error: anyhow::Error) -> GossipError {
    GossipError::Ended(format!("{error:#}"))
}

async fn bind(config: &GossipConfig) -> Result<(Arc<UdpSocket>, SocketAddr), GossipError> {
    let listen = config.listen;
    let failed = |source| GossipError::Bind { listen, source };
    let socket = UdpSocket::bind(listen).await.map_err(failed)?;
    let port = match config.advertise.port() {
        0 => socket.local_addr().map_err(failed)?.port(),
        port => port,
    };
    Ok((Arc::new(socket), SocketAddr::new(config.advertise.ip(), port)))
}

fn chitchat_config(config: &GossipConfig, address: SocketAddr) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(config.name.as_str(), config.generation, address),
        cluster_id: config.cluster.to_string(),
        gossip_interval: config.interval,
        listen_addr: config.listen,
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI_THRESHOLD,
            sampling_window_size: PHI_WINDOW,
            max_interval: config.heartbeat_timeout,
            initial_interval: config.interval,
            dead_node_grace_period: config.grace,
        },
        marked_for_deletion_grace_period: config.grace,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

/// Looks at what chitchat knows, at least once an interval.
struct Watcher {
    observer: Observer,
    chitchat: Arc<Mutex<Chitchat>>,
    interval: Duration,
    news: Arc<Notify>,
    _listener: chitchat::ListenerHandle,
    peers: watch::Sender<Peers>,
    superseded: watch::Sender<bool>,
}

impl Watcher {
    async fn new(
        mut observer: Observer,
        chitchat: Arc<Mutex<Chitchat>>,
        interval: Duration,
    ) -> (Self, watch::Receiver<Peers>, watch::Receiver<bool>) {
        let news = Arc::new(Notify::new());
        let (sights, listener) = {
            let chitchat = chitchat.lock().await;
            let notify = Arc::clone(&news);
            let listener = chitchat.subscribe_event("", move |_| notify.notify_one());
            (look(&chitchat, &observer), listener)
        };
        let first = Arc::new(observer.observe(Instant::now(), sights));
        let (peers, peers_watch) = watch::channel(first);
        let (superseded, superseded_watch) = watch::channel(false);
        let watcher =
            Self { observer, chitchat, interval, news, _listener: listener, peers, superseded };
        (watcher, peers_watch, superseded_watch)
    }

    async fn run(mut self) {
        loop {
            tokio::time::sleep(self.interval / NEWS_PER_INTERVAL).await;
            let rest = self.interval - self.interval / NEWS_PER_INTERVAL;
            // Whichever comes first.
            let _ = tokio::time::timeout(rest, self.news.notified()).await;
            let sights = look(&*self.chitchat.lock().await, &self.observer);
            let peers = self.observer.observe(Instant::now(), sights);
            self.peers.send_replace(Arc::new(peers));
            if let Some(other) = self.observer.superseded()
                && !self.superseded.send_replace(true)
            {
                tracing::error!(?other, "another node with this one's name has started later");
            }
        }
    }
}

fn look(chitchat: &Chitchat, observer: &Observer) -> Vec<Sight> {
    let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
    let states = chitchat.node_states().iter();
    let sights = states.map(|(id, state)| {
        let known = observer.version(id);
        let values = state.key_values_including_deleted();
        let news = values.filter(|(_, value)| value.version > known && !value.is_deleted());
        Sight {
            id: id.clone(),
            heartbeat: state.heartbeat().into(),
            version: state.max_version(),
            news: news.map(|(key, value)| (key.to_owned(), value.value.clone())).collect(),
            suspected: !live.contains(id),
            patience: chitchat.failure_detection_timeout(id),
        }
    });
    sights.collect()
}
