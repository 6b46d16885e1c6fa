//! Who owns what: a Raft group of five with their supervisors, over a network of one process, and many
//! nodes that only seem to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_cluster::codec;
use aeterna_cluster::consensus::{Consensus, ConsensusConfig, MAX_COMMAND_BYTES};
use aeterna_cluster::gossip::Liveness;
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::router::Router;
use aeterna_cluster::shard_map::ShardMap;
use aeterna_cluster::supervisor::decide::{Action, Situation, decide};
use aeterna_cluster::supervisor::memory::Memory;
use aeterna_cluster::supervisor::rules::Rules;
use aeterna_cluster::supervisor::view::{PeerView, PeersView, RaftView};
use aeterna_cluster::supervisor::{Parts, Supervisor, SupervisorConfig};
use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::Model;
use crate::peers::{Hollow, Net, Seen, Wire};

/// Nodes of the Raft group.
const VOTERS: u32 = 5;
const CLUSTER: Uuid = Uuid::from_u128(1);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often one decision is timed; the best time counts.
const DECISIONS: usize = 5;

/// What was measured.
pub struct Ownership {
    pub map_bytes: usize,
    pub lost_shards: usize,
    pub decide: Duration,
    pub reassigned: Duration,
    pub command_bytes: usize,
}

/// Loses a tenth of the nodes, none of which votes.
pub async fn measure(model: Model, sizes: &[u64]) -> Result<Ownership> {
    let folder = Folder::new()?;
    let group = Group::form(model, &folder.0).await?;
    let map = group.until("formed", |group| group.has_owners()).await?;
    let alive = view(model, &map, sizes, &BTreeSet::new());
    group.seen.set(with_disks(alive.clone(), &group.voters));
    // As long as a leader has to have watched before it holds anybody to be dead.
    tokio::time::sleep(2 * HEARTBEAT_TIMEOUT).await;
    let lost: BTreeSet<NodeName> =
        (VOTERS..VOTERS + model.lost()).map(name).collect::<Result<_>>()?;
    let lost_shards = map.shards().iter().filter(|shard| is_of(&lost, shard.owner.as_ref()));
    let lost_shards = lost_shards.count();
    let after = view(model, &map, sizes, &lost);

    let (decide, command_bytes) = decision(&map, &alive, &after)?;
    let begun = Instant::now();
    group.seen.set(with_disks(after, &group.voters));
    let map = group.until("reassigned", |group| {
        let maps = group.voters.iter().map(|voter| voter.consensus.map());
        maps.into_iter().all(|map| {
            map.shards()
                .iter()
                .all(|shard| shard.owner.is_some() && !is_of(&lost, shard.owner.as_ref()))
        })
    });
    let map = map.await?;
    let reassigned = begun.elapsed();
    Ok(Ownership {
        map_bytes: map.to_bytes()?.len(),
        lost_shards,
        decide,
        reassigned,
        command_bytes,
    })
}

fn is_of(names: &BTreeSet<NodeName>, owner: Option<&NodeName>) -> bool {
    owner.is_some_and(|owner| names.contains(owner))
}

fn name(number: u32) -> Result<NodeName> {
    Ok(format!("code-search-indexer-{number}").parse()?)
}

/// The nodes as gossip tells of them; the lost ones have been silent for too long.
fn view(model: Model, map: &ShardMap, sizes: &[u64], lost: &BTreeSet<NodeName>) -> PeersView {
    let mut owned: BTreeMap<&NodeName, BTreeMap<ShardId, u64>> = BTreeMap::new();
    for ((number, shard), bytes) in (0..).zip(map.shards()).zip(sizes) {
        if let Some(owner) = &shard.owner {
            owned.entry(owner).or_default().insert(ShardId(number), *bytes);
        }
    }
    let peer = |number: u32| {
        let name = name(number).ok()?;
        let is_lost = lost.contains(&name);
        let peer = PeerView {
            generation: 1,
            grpc: format!("{name}:8081"),
            raft_id: None,
            zone: Some(format!("eu-1{}", ["a", "b", "c"][number as usize % 3])),
            capacity: 100,
            ready: true,
            draining: false,
            full: false,
            map_version: map.version(),
            shards_serving: 0,
            shard_bytes: owned.get(&name).cloned().unwrap_or_default(),
            heartbeat_age: if is_lost { 2 * HEARTBEAT_TIMEOUT } else { Duration::ZERO },
            suspected: is_lost,
            liveness: if is_lost { Liveness::Dead } else { Liveness::Alive },
        };
        Some((name, peer))
    };
    (0..model.nodes).filter_map(peer).collect()
}

/// The voters say which disks they have.
fn with_disks(mut view: PeersView, voters: &[Voter]) -> PeersView {
    for voter in voters {
        if let Some(peer) = view.get_mut(&voter.name) {
            peer.raft_id = Some(voter.consensus.raft_id());
        }
    }
    view
}

fn rules() -> Rules {
    Rules {
        heartbeat_timeout: HEARTBEAT_TIMEOUT,
        settle: Duration::from_secs(1),
        ..Rules::default()
    }
}

/// How long a leader takes to decide about the lost nodes, and bytes of what it then proposes.
fn decision(map: &ShardMap, before: &PeersView, after: &PeersView) -> Result<(Duration, usize)> {
    let (rules, raft) = (rules(), RaftView { leads: true, ..RaftView::default() });
    let mut best: Option<(Duration, usize)> = None;
    for _ in 0..DECISIONS {
        let mut memory = Memory::default();
        let tick = HEARTBEAT_TIMEOUT / 4;
        for look in 0..20 {
            memory.observe(map, before, &raft, tick * look, &rules);
        }
        let now = tick * 20;
        let begun = Instant::now();
        memory.observe(map, after, &raft, now, &rules);
        let situation =
            Situation { map, peers: after, raft: &raft, memory: &memory, rules: &rules, now };
        let actions = decide(&situation);
        let took = begun.elapsed();
        let mut bytes = 0;
        for action in &actions {
            if let Action::Propose(command) = action {
                bytes += codec::encode(command, MAX_COMMAND_BYTES)?.len();
            }
        }
        if best.is_none_or(|(best, _)| took < best) {
            best = Some((took, bytes));
        }
    }
    best.context("nothing was decided")
}

/// A node that takes part in the Raft group.
struct Voter {
    name: NodeName,
    consensus: Arc<Consensus>,
    _supervisor: Supervisor,
}

struct Group {
    voters: Vec<Voter>,
    seen: Arc<Seen>,
}

impl Group {
    /// Has the first node found the group, and its supervisor bring in the others.
    async fn form(model: Model, folder: &Path) -> Result<Self> {
        let (net, seen) = (Arc::new(Net::default()), Arc::new(Seen::default()));
        let mut voters = Vec::new();
        for number in 0..VOTERS {
            let name = name(number)?;
            let config = ConsensusConfig::new(
                folder.join(number.to_string()),
                CLUSTER,
                model.shards,
                name.clone(),
                format!("{name}:8081"),
            );
            let wire = Arc::new(Wire(Arc::clone(&net)));
            let consensus = Arc::new(Consensus::open(config, Arc::clone(&wire) as _).await?);
            net.listen(name.clone(), Arc::clone(&consensus));
            if number == 0 {
                consensus.initialize().await?;
            }
            let parts = Parts {
                consensus: Arc::clone(&consensus) as _,
                membership: Arc::clone(&seen) as _,
                host: Arc::new(Hollow::default()),
                peers: Arc::clone(&wire) as _,
                router: Router::new(
                    name.clone(),
                    CLUSTER,
                    model.shards,
                    Arc::clone(&seen) as _,
                    wire as _,
                ),
            };
            let config = SupervisorConfig { rules: rules(), ..SupervisorConfig::default() };
            let supervisor = Supervisor::start(config, parts);
            voters.push(Voter { name, consensus, _supervisor: supervisor });
        }
        let none = ShardMap::new(CLUSTER, model.shards);
        seen.set(with_disks(view(model, &none, &[], &BTreeSet::new()), &voters));
        Ok(Self { voters, seen })
    }

    /// Whether all vote, and everything is owned.
    fn has_owners(&self) -> bool {
        self.voters.iter().all(|voter| {
            let status = voter.consensus.status();
            let map = voter.consensus.map();
            let all = map.shards().iter().all(|shard| shard.owner.is_some());
            status.voters.len() == VOTERS as usize && !status.changing && all
        })
    }

    /// Waits for something, and gives the map of then.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<Arc<ShardMap>> {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > PATIENCE {
                let status = self.voters.first().map(|voter| voter.consensus.status());
                bail!("not {what} after {PATIENCE:?}: {status:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(self.voters.first().context("a group without voters")?.consensus.map())
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("aeterna-model-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("aeterna-model: cannot remove {}: {error}", self.0.display());
        }
    }
}
