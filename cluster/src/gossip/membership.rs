//! A node's part in the gossip, from start to end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use super::config::{GossipConfig, GossipError};
use super::counters::{Counters, Counting};
use super::facts::Facts;
use super::observe::{Liveness, Observer, Peer, Sight};
use super::resolve::{Resolve, SystemResolver};
use super::seal::{ClusterKeys, SealError};
use super::seeds::Seed;
use super::thread::GossipThread;
use super::transport::{SealedTransport, Seals};
use super::{discovery, keys};
use crate::name::NodeName;

/// From which phi on chitchat takes a node for dead: readers may avoid it then.
const PHI_THRESHOLD: f64 = 8.0;
/// Heartbeats whose intervals are remembered of each node.
const PHI_WINDOW: usize = 200;
/// Peers that are told of something urgent at once; they tell others.
const TOLD_AT_ONCE: usize = 4;
/// How often chitchat's state is looked at in an interval: a beat is not taken for later than it was
/// by more than this part.
const LOOKS: u32 = 5;
/// News is looked at at once, but not more often than so many times in an interval.
const LOOKS_AT_NEWS: u32 = 10;

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
    thread: GossipThread,
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
        let thread = GossipThread::start().await;
        let thread = thread.map_err(|error| GossipError::Ended(error.to_string()))?;
        let on_thread = thread.handle().clone();
        let starting = on_thread.spawn(Self::start_on(thread, config, entries, resolver));
        starting.await.map_err(|error| GossipError::Ended(error.to_string()))?
    }

    async fn start_on(
        thread: GossipThread,
        config: GossipConfig,
        entries: Vec<(String, String)>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, GossipError> {
        let counting = Arc::new(Counting::default());
        let (socket, address) = bind(&config).await?;
        let seeds = config.join.iter().map(|seed| Seed::parse(seed, address.port()));
        let seeds = seeds.collect::<Result<Vec<Seed>, _>>()?;
        let without = || ClusterKeys::without_secret(config.cluster);
        let cluster_keys = config.keys.clone().unwrap_or_else(without);
        let seals = Arc::new(Seals::new(&cluster_keys, config.cluster)?);
        let transport = SealedTransport::new(socket, Arc::clone(&seals), Arc::clone(&counting));
        let transport = transport.await.map_err(ended)?;
        let chitchat_config = chitchat_config(&config, address);
        let handle = spawn_chitchat(chitchat_config, entries, &transport).await.map_err(ended)?;
        let chitchat = handle.chitchat();
        let observer = Observer::new(
            handle.chitchat_id().clone(),
            config.interval,
            config.heartbeat_timeout,
            PHI_THRESHOLD,
            Arc::clone(&counting),
        );
        let (watcher, peers, superseded) =
            Watcher::new(observer, Arc::clone(&chitchat), config.interval).await;
        tokio::spawn(watcher.run());
        let membership = Self {
            handle: Arc::new(handle),
            chitchat,
            address,
            name: config.name,
            interval: config.interval,
            peers,
            superseded,
            counting,
            seals,
            thread,
        };
        membership.discover(seeds, resolver, config.listen);
        Ok(membership)
    }

    fn discover(&self, seeds: Vec<Seed>, resolver: Arc<dyn Resolve>, listen: SocketAddr) {
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
            tokio::spawn(finder.run(sender.clone()));
        }
        let listen = SocketAddr::new(listen.ip(), self.address.port());
        let myself = BTreeSet::from([self.address, listen]);
        let (handle, name) = (Arc::clone(&self.handle), self.name.clone());
        let asking = discovery::ask(handle, name, myself, self.peers(), found, self.interval);
        tokio::spawn(asking);
    }

    /// Where others reach this node's gossip.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every node that is known with enough facts to talk to it, this one included. Renewed when
    /// anything changes, and once an interval for the ages.
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

    /// Gossips with a few peers without waiting for the next interval.
    fn tell_at_once(&self) {
        let peers = Arc::clone(&self.peers.borrow());
        let others = peers.values().filter(|peer| peer.name != self.name && !peer.gone());
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
    /// on, and must restart. It waits for ever where [`leave`](Self::leave) has ended it.
    pub async fn failed(&self) -> GossipError {
        let mut peers = self.peers();
        let watching = async { while peers.changed().await.is_ok() {} };
        let error = tokio::select! {
            ended_with = self.handle.termination_watcher() => match ended_with {
                Ok(()) => GossipError::Ended("it was ended".to_owned()),
                Err(error) => ended(error),
            },
            () = watching => GossipError::Ended("nobody watches who is alive".to_owned()),
        };
        if self.thread.is_stopped() {
            return std::future::pending().await;
        }
        error
    }

    /// Tells peers that this node goes, and ends.
    pub async fn leave(&self) {
        self.chitchat.lock().await.self_node_state().set(keys::LEFT, "1");
        for _ in 0..2 {
            self.tell_at_once();
            tokio::time::sleep(self.interval).await;
        }
        self.thread.stop();
        self.thread.ended().await;
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

/// Looks at what chitchat knows.
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
        let mut published = Instant::now();
        loop {
            tokio::time::sleep(self.interval / LOOKS_AT_NEWS).await;
            // Whichever comes first.
            let _ = tokio::time::timeout(self.interval / LOOKS, self.news.notified()).await;
            let sights = look(&*self.chitchat.lock().await, &self.observer);
            let peers = self.observer.observe(Instant::now(), sights);
            let is_news = !differ_in_age_only(&self.peers.borrow(), &peers);
            if is_news || published.elapsed() >= self.interval {
                published = Instant::now();
                log_changes(&self.peers.borrow(), &peers);
                self.peers.send_replace(Arc::new(peers));
            }
            if let Some(other) = self.observer.superseded()
                && !self.superseded.send_replace(true)
            {
                tracing::error!(?other, "another node with this one's name has started later");
            }
        }
    }
}

/// Says who came, who is silent and who went.
fn log_changes(before: &BTreeMap<NodeName, Peer>, now: &BTreeMap<NodeName, Peer>) {
    let state = |peer: &Peer| (peer.generation, peer.liveness);
    for (name, peer) in now {
        if before.get(name).map(state) == Some(state(peer)) {
            continue;
        }
        let (name, generation, gossip) = (name.as_str(), peer.generation, peer.gossip);
        match peer.liveness {
            Liveness::HeardOf => tracing::debug!(name, generation, %gossip, "heard of a node"),
            Liveness::Alive => tracing::info!(name, generation, %gossip, "a node is alive"),
            Liveness::Left => tracing::info!(name, generation, %gossip, "a node has left"),
            Liveness::Dead => {
                let silent_for = peer.heartbeat_age;
                tracing::warn!(name, generation, %gossip, ?silent_for, "a node is dead");
            }
        }
    }
}

fn differ_in_age_only(before: &BTreeMap<NodeName, Peer>, now: &BTreeMap<NodeName, Peer>) -> bool {
    let same = |(one, other): (&Peer, &Peer)| {
        one.name == other.name
            && (one.generation, one.gossip) == (other.generation, other.gossip)
            && (one.liveness, one.suspected) == (other.liveness, other.suspected)
            && Arc::ptr_eq(&one.facts, &other.facts)
    };
    before.len() == now.len() && before.values().zip(now.values()).all(same)
}

fn look(chitchat: &Chitchat, observer: &Observer) -> Vec<Sight> {
    let live: HashSet<&ChitchatId> = chitchat.live_nodes().collect();
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
