//! A node: the real Raft group, shard map, router, supervisor and cold storage, wired together as
//! `node/` does, over what is simulated.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aeterna_cluster::consensus::{Consensus, ConsensusConfig};
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::peers::Answers;
use aeterna_cluster::router::{Router, Target};
use aeterna_cluster::shard_map::Command;
use aeterna_cluster::supervisor::rules::Rules;
use aeterna_cluster::supervisor::{MembershipApi, Parts, Supervisor, SupervisorConfig};
use aeterna_proto::{ProposeRequest, RaftRequest, ShardMapRequest};
use aeterna_repo::cold_storage::{ClusterClaim, ColdLimits, ColdStorage};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::calls::{Answer, Calls, Method, number_of};
use crate::catalog::{Catalog, Document, Right};
use crate::disk::{Disk, Speed};
use crate::ending::{self, Ending, Stage};
use crate::host::{self, Host};
use crate::judge::Judge;
use crate::membership::{Facts, Heartbeats, INTERVAL};
use crate::mistakes::{Mistake, is_made};
use crate::network::{Wire, host_name};
use crate::store::Store;

/// A node is dead when it was silent for so long.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a node indexes and uploads.
const WORK_EVERY: Duration = Duration::from_millis(300);
/// How often a node looks which of its copies it is time for.
const FOLLOW_LOOK: Duration = Duration::from_millis(100);
/// How long a node that passes a request on waits for its answer.
const FORWARD_DEADLINE: Duration = Duration::from_secs(3);
/// How long a change of the shard map may take that someone asks for.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(6);
/// Between two attempts at what must succeed before a node can take part.
const RETRY: Duration = Duration::from_millis(500);

/// The cluster, and the nodes that it has.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Shards.
    pub shards: u32,
    /// How many nodes are to hold a shard, its owner included.
    pub copies: usize,
}

/// What one life of a node begins with.
pub struct Setup {
    /// Which node.
    pub number: usize,
    /// Grows with each life.
    pub life: u64,
    /// The cluster.
    pub size: Size,
    /// Where its Raft group is.
    pub disk: Disk,
    /// How fast that is.
    pub speed: Arc<Speed>,
    /// Where its shards are.
    pub folder: PathBuf,
    /// What tells its disk from others, and the claim as the disk knows it.
    pub known: Arc<Mutex<KnownClaim>>,
    /// The least time without a leader after which it wants to lead.
    pub election: Duration,
    /// Its connection.
    pub wire: Arc<Wire>,
    /// What comes in by that.
    pub packets: UnboundedReceiver<Bytes>,
    /// The object store.
    pub store: Arc<Store>,
    /// The database.
    pub catalog: Catalog,
    /// Who watches.
    pub judge: Arc<Judge>,
}

/// What a disk knows of the cluster's claim.
#[derive(Clone, Debug)]
pub struct KnownClaim {
    /// What tells this disk from others.
    pub token: u64,
    /// `None` before it has joined.
    pub claim: Option<ClusterClaim>,
}

/// A node that has begun.
#[derive(Clone)]
pub struct Life {
    /// Its part of the Raft group.
    pub consensus: Arc<Consensus>,
    /// The map that it goes by.
    pub router: Arc<Router>,
    /// Its shards.
    pub host: Arc<Host>,
    /// Its supervisor.
    pub supervisor: Arc<Supervisor>,
    /// How far its end is.
    pub ending: Arc<Ending>,
}

/// The limits of cold storage, where seconds are dear.
fn limits() -> ColdLimits {
    ColdLimits {
        call_timeout: Duration::from_secs(1),
        attempts: 3,
        first_wait: Duration::from_millis(100),
        ..ColdLimits::default()
    }
}

fn rules(Size { nodes, copies, .. }: Size) -> Rules {
    let seconds = Duration::from_secs;
    Rules {
        heartbeat_timeout: HEARTBEAT_TIMEOUT,
        copies,
        expected_nodes: nodes,
        settle: seconds(1),
        form_timeout: seconds(6),
        return_grace: seconds(3),
        voter_grace: seconds(15),
        disk_grace: seconds(4),
        member_grace: seconds(40),
        rebalance: true,
        rebalance_interval: seconds(5),
        ..Rules::default()
    }
}

/// What a node is called.
#[expect(clippy::expect_used, reason = "a word and a number make a name")]
fn name_of(number: usize) -> NodeName {
    host_name(number).parse().expect("a node's name")
}

/// Runs a node until its life ends; `begun` is told when it takes part.
pub async fn run(setup: Setup, begun: Arc<Mutex<Option<Life>>>) {
    let Setup { number, life, size, judge, .. } = &setup;
    let name = name_of(*number);
    let cold = match ColdStorage::over(Arc::clone(&setup.store) as _, "", limits()) {
        Ok(cold) => cold,
        Err(error) => return judge.wrong(format!("cold storage cannot be opened: {error}")),
    };
    let heartbeats = Heartbeats::new(name.clone(), HEARTBEAT_TIMEOUT);
    let calls = Calls::new(*number, *life, Arc::clone(&setup.wire));
    let (claim, is_founder) = claim(&setup, &cold).await;
    let mut config = ConsensusConfig::new(
        setup.folder.clone(),
        claim.cluster,
        claim.shards,
        name.clone(),
        name.to_string(),
    );
    config.heartbeat = Duration::from_millis(200);
    config.election = (setup.election, setup.election + Duration::from_millis(1));
    config.rpc_timeout = Duration::from_millis(1_500);
    let database = match setup.disk.open() {
        Ok(database) => database,
        Err(error) => return judge.wrong(format!("{name} cannot open its disk: {error}")),
    };
    let transport = Arc::clone(&calls);
    let speed = Arc::clone(&setup.speed);
    let opened = Consensus::open_paced(config, transport, database, speed as _).await;
    let consensus = match opened {
        Ok(consensus) => Arc::new(consensus),
        Err(error) => return judge.wrong(format!("{name} cannot open its log: {error}")),
    };
    let membership: Arc<dyn MembershipApi> = Arc::clone(&heartbeats) as _;
    let peers = Arc::clone(&calls);
    let router = Router::new(
        name.clone(),
        claim.cluster,
        claim.shards,
        Arc::clone(&membership),
        Arc::clone(&peers) as _,
    );
    let host = Host::new(host::Parts {
        node: *number,
        disk: setup.folder.clone(),
        cold,
        catalog: setup.catalog.clone(),
        judge: Arc::clone(judge),
    });
    let config = SupervisorConfig { rules: rules(*size), ..SupervisorConfig::default() };
    let supervisor = Arc::new(Supervisor::start(
        config,
        Parts {
            consensus: Arc::clone(&consensus) as _,
            membership,
            host: Arc::clone(&host) as _,
            peers: peers as _,
            router: Arc::clone(&router),
        },
    ));
    let ending = Ending::begin();
    let lives = Life { consensus, router, host, supervisor, ending };
    let node = Node {
        answers: Answers {
            consensus: Arc::clone(&lives.consensus),
            router: Arc::clone(&lives.router),
            proposals: Arc::clone(lives.supervisor.proposals()),
        },
        life: lives.clone(),
        calls: Arc::clone(&calls),
        heartbeats: Arc::clone(&heartbeats),
    };
    *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(lives.clone());
    judge.log(|| format!("{name} takes part as disk {}", lives.consensus.raft_id()));
    let seen = Arc::clone(&heartbeats);
    tokio::spawn(beat(*number, *life, size.nodes, lives.clone(), Arc::clone(&calls), heartbeats));
    tokio::spawn(ending::run(lives.clone(), *number, Arc::clone(judge)));
    tokio::spawn(work(Arc::clone(&lives.host)));
    tokio::spawn(upload(Arc::clone(&lives.host)));
    tokio::spawn(follow(Arc::clone(&lives.host)));
    if is_made(Mistake::BootstrapFromGossip) {
        tokio::spawn(found_if_first(lives.clone(), Arc::clone(&seen)));
    } else if is_founder {
        tokio::spawn(found(Arc::clone(&lives.consensus)));
    }
    calls.serve(setup.packets, Arc::new(node)).await;
}

/// Learns which cluster this is, as `node::cluster::start` does, and whether this disk founds it.
async fn claim(setup: &Setup, cold: &ColdStorage) -> (ClusterClaim, bool) {
    let known = || setup.known.lock().unwrap_or_else(PoisonError::into_inner);
    let KnownClaim { token, claim } = known().clone();
    if let Some(claim) = claim {
        let is_founder = claim.founder == token;
        return (claim, is_founder);
    }
    let is_claimed = !is_made(Mistake::BootstrapFromGossip);
    let mine = ClusterClaim {
        cluster: if is_claimed { Uuid::new_v4() } else { Uuid::from_u128(1) },
        shards: setup.size.shards,
        founder: token,
        founder_name: host_name(setup.number),
        made_at: time::OffsetDateTime::UNIX_EPOCH,
    };
    if !is_claimed {
        return (mine, false);
    }
    loop {
        match cold.claim(&mine).await {
            Ok(claim) => {
                let is_founder = claim.founder == token;
                known().claim = Some(claim.clone());
                return (claim, is_founder);
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// The mistake of beginning a Raft group because of what the gossip shows.
async fn found_if_first(life: Life, heartbeats: Arc<Heartbeats>) {
    sleep(4 * INTERVAL).await;
    if heartbeats.peers().keys().next() == Some(life.router.me()) {
        found(life.consensus).await;
    }
}

/// Begins the Raft group.
async fn found(consensus: Arc<Consensus>) {
    while consensus.initialize().await.is_err() {
        sleep(RETRY).await;
    }
}

/// Tells the others that this node is alive.
async fn beat(
    number: usize,
    generation: u64,
    nodes: usize,
    life: Life,
    calls: Arc<Calls>,
    heartbeats: Arc<Heartbeats>,
) {
    let mut heartbeat = 0;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        heartbeat += 1;
        let serving = life.host.serving().into_keys().map(|shard| (shard, 1)).collect();
        let told = heartbeats.beat(Facts {
            generation,
            heartbeat,
            raft_id: life.consensus.raft_id().0,
            ready: true,
            draining: life.ending.is(Stage::Draining),
            left: life.ending.is(Stage::Left),
            map_version: life.router.map().version(),
            serving,
        });
        for other in (0..nodes).filter(|other| *other != number) {
            calls.tell(other, &told);
        }
    }
}

async fn work(host: Arc<Host>) {
    loop {
        host.work().await;
        sleep(WORK_EVERY).await;
    }
}

async fn upload(host: Arc<Host>) {
    loop {
        host.upload_all().await;
        sleep(WORK_EVERY).await;
    }
}

async fn follow(host: Arc<Host>) {
    loop {
        host.follow_all().await;
        sleep(FOLLOW_LOOK).await;
    }
}

/// What a client or another node asks of a shard.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The shard.
    pub shard: u32,
    /// The document to be added.
    pub document: Option<Document>,
    /// The epoch that it is owned under, as whoever passes it on knows.
    pub epoch: Option<u64>,
    /// Whether copies are asked before the owner, as searches do when that takes long.
    pub hedges: bool,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The epoch that it was given under; `None` from a copy.
    pub epoch: Option<u64>,
    /// What was read.
    pub documents: Vec<Document>,
    /// Whether that is all.
    pub is_complete: bool,
}

/// What someone wants to be moved.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Move {
    /// The shard.
    pub shard: u32,
    /// The node that it is to go to.
    pub to: usize,
}

struct Node {
    answers: Answers,
    life: Life,
    calls: Arc<Calls>,
    heartbeats: Arc<Heartbeats>,
}

impl Node {
    /// Has the owner of a shard answer; once more with a newer map when that has changed.
    async fn route(&self, asked: Asked) -> Result<Answered, String> {
        let version = self.life.router.map().version();
        match self.route_once(asked).await {
            Err(why) if why.contains("stale epoch") => {
                let newer = self.life.router.refresh(version + 1, FORWARD_DEADLINE).await;
                newer.map_err(|error| error.to_string())?;
                self.route_once(asked).await
            }
            answered => answered,
        }
    }

    async fn route_once(&self, asked: Asked) -> Result<Answered, String> {
        let owner = self.life.router.owner(ShardId(asked.shard));
        if asked.document.is_some() {
            let owner = owner.map_err(|error| error.to_string())?;
            return self.ask(&owner.target, Asked { epoch: Some(owner.epoch.0), ..asked }).await;
        }
        let (mut holders, epoch) = self.life.router.holders(ShardId(asked.shard));
        if asked.hedges {
            let is_owner = |target: &Target| {
                owner.as_ref().is_ok_and(|owner| owner.target.name == target.name)
            };
            holders.sort_by_key(is_owner);
        }
        let mut why = owner.err().map(|error| error.to_string());
        for holder in holders {
            match self.ask(&holder, Asked { epoch: Some(epoch.0), ..asked }).await {
                Ok(answered) => return Ok(answered),
                // What the first has said: that is who should have known.
                Err(error) => _ = why.get_or_insert(error),
            }
        }
        Err(why.unwrap_or_else(|| "nobody holds it".to_owned()))
    }

    async fn ask(&self, target: &Target, asked: Asked) -> Result<Answered, String> {
        if target.name == *self.life.router.me() {
            return self.own(asked).await;
        }
        let method = match asked.document {
            Some(_) => Method::ForwardedAdd,
            None => Method::ForwardedRead,
        };
        let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
        match self.calls.call(number_of(&target.name), method, &body, FORWARD_DEADLINE).await {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn own(&self, asked: Asked) -> Result<Answered, String> {
        let epoch = asked.epoch.ok_or("no epoch is named")?;
        if let Some(document) = asked.document {
            self.life.host.add(Right { shard: asked.shard, epoch }, document).await?;
            return Ok(Answered { epoch: Some(epoch), documents: Vec::new(), is_complete: true });
        }
        let map = self.life.router.map();
        let newest = map.shard(ShardId(asked.shard)).map_or(0, |shard| shard.epoch.0).max(epoch);
        let found = self.life.host.read(asked.shard, newest).await?;
        let documents = found.documents.into_iter().collect();
        Ok(Answered { epoch: found.epoch, documents, is_complete: found.is_complete })
    }
}

impl Node {
    /// Has a shard moved, as `node::cluster::operations` does: to the node that has it, a move is given up.
    async fn move_shard(&self, Move { shard, to }: Move) -> Result<String, String> {
        let (map, shard, to) = (self.life.router.map(), ShardId(shard), name_of(to));
        let now = map.shard(shard).ok_or("there is no such shard")?;
        let stays = now.moving_to.is_some() && now.owner.as_ref() == Some(&to);
        let seen = now.epoch;
        let command = match stays {
            true => Command::AbortMove { shard, seen },
            false => Command::BeginMove { shard, seen, to },
        };
        let outcome = self.answers.proposals.propose(&command, PROPOSE_DEADLINE).await;
        outcome.map(|outcome| format!("{outcome:?}")).map_err(|error| error.to_string())
    }
}

fn encoded<E: std::fmt::Display>(answer: Result<impl Message, E>) -> Result<Vec<u8>, String> {
    answer.map(|answer| answer.encode_to_vec()).map_err(|error| error.to_string())
}

#[async_trait]
impl Answer for Node {
    async fn answer(&self, _from: usize, method: Method, body: Bytes) -> Result<Vec<u8>, String> {
        let unreadable = |error: prost::DecodeError| error.to_string();
        match method {
            Method::Raft => {
                let request = RaftRequest::decode(body).map_err(unreadable)?;
                encoded(self.answers.raft(request).await)
            }
            Method::ShardMap => {
                let request = ShardMapRequest::decode(body).map_err(unreadable)?;
                encoded(self.answers.shard_map(&request))
            }
            Method::Propose => {
                let request = ProposeRequest::decode(body).map_err(unreadable)?;
                encoded(self.answers.propose(request).await)
            }
            Method::Beat => Ok(Vec::new()),
            Method::Move => {
                let wanted = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
                self.move_shard(wanted).await.map(String::into_bytes)
            }
            Method::Add | Method::Read | Method::ForwardedAdd | Method::ForwardedRead => {
                let asked: Asked = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
                let answered = match method {
                    Method::ForwardedAdd | Method::ForwardedRead => self.own(asked).await?,
                    _ => self.route(asked).await?,
                };
                serde_json::to_vec(&answered).map_err(|error| error.to_string())
            }
        }
    }

    fn hear(&self, _from: usize, body: &[u8]) {
        self.heartbeats.hear(body);
    }
}
