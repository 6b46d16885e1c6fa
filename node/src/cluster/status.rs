//! How the cluster is, as this node sees it: from what it knows, without asking anyone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aeterna_cluster::consensus::{RaftId, Role, Status};
use aeterna_cluster::gossip::{Liveness, Peer};
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::peers::Refusal;
use aeterna_cluster::shard_map::{self, ShardMap};
use aeterna_repo::{DiskSpace, HeldShard};
use axum::http::StatusCode;

use super::Cluster;
use super::facts::leads;
use super::metrics::ClusterGauges;
use crate::api::cluster::{ClusterStatus, Health, Move, Node, Raft, Restore, Shard, ShardList};
use crate::http::problem::Problem;

/// What the map gives a node.
#[derive(Clone, Copy, Default)]
struct Counts {
    owned: u32,
    replicated: u32,
}

/// What the view of the cluster is made of, at one moment.
struct View {
    map: std::sync::Arc<ShardMap>,
    peers: std::sync::Arc<BTreeMap<NodeName, Peer>>,
    voters: BTreeSet<String>,
    /// The node that looks.
    me: NodeName,
    /// How many nodes are to hold each shard.
    copies: usize,
}

impl Cluster {
    fn view(&self) -> View {
        View {
            map: self.map(),
            peers: self.peers(),
            voters: self.raft().voters.into_iter().collect(),
            me: self.name().clone(),
            copies: self.copies,
        }
    }

    /// Everything that this node knows of the cluster.
    pub fn status(&self) -> ClusterStatus {
        let view = self.view();
        let raft = self.raft();
        let nodes = view.nodes();
        let shards: Vec<Shard> = view.shards();
        let unhealthy: Vec<Shard> =
            shards.iter().filter(|shard| shard.waits_for.is_some()).cloned().collect();
        let (status, reasons) = self.health(&nodes, &unhealthy, shards.len(), &raft);
        ClusterStatus {
            cluster_id: self.id().to_string(),
            node: self.name().to_string(),
            status,
            reasons,
            map_version: view.map.version(),
            raft,
            shards: u32::try_from(shards.len()).unwrap_or(u32::MAX),
            nodes,
            moves: shards.iter().filter_map(|shard| view.moving(shard)).collect(),
            unhealthy_shards: unhealthy,
            restores: view.restores(),
            last_failure: self.last_failure(),
        }
    }

    /// Every node, by name.
    pub fn nodes(&self) -> Vec<Node> {
        self.view().nodes()
    }

    /// Every shard, by number.
    pub fn shards(&self) -> ShardList {
        let view = self.view();
        ShardList { map_version: view.map.version(), shards: view.shards() }
    }

    /// One shard.
    ///
    /// # Errors
    /// 404 where there is no such shard.
    pub fn shard(&self, number: u32) -> Result<Shard, Problem> {
        let view = self.view();
        let shard = view.map.shards().get(number as usize);
        shard.map(|shard| view.shard(number, shard)).ok_or_else(|| {
            let shards = view.map.shards().len();
            Problem::new(
                StatusCode::NOT_FOUND,
                "no-such-shard",
                format!("there is no shard {number}: the cluster has {shards}, from 0 on"),
            )
        })
    }

    fn raft(&self) -> Raft {
        let status = self.consensus.status();
        if !status.is_member() || status.removed {
            return outside("outside", &self.peers());
        }
        if status.role == Role::Waiting {
            return outside("waiting", &self.peers());
        }
        // One that led and whom no majority answers any more leads nobody.
        let is_alone = status.is_leader() && !leads(&status);
        let lost_voters = self.lost_voters(&status);
        let leader = status.leader_node.filter(|_| !is_alone);
        Raft {
            role: format!("{:?}", status.role).to_ascii_lowercase(),
            term: status.term,
            leader: leader.map(|node| node.name.to_string()),
            voters: status.voters.values().map(|node| node.name.to_string()).collect(),
            lost_voters,
            last_log: status.last_log.unwrap_or(0),
            committed: status.committed.unwrap_or(0),
            applied: status.applied.unwrap_or(0),
        }
    }

    /// Voters whose node is here with another disk than the one that votes.
    fn lost_voters(&self, status: &Status) -> Vec<String> {
        let peers = self.peers();
        let has_other_disk = |id: &RaftId, name: &NodeName| {
            let peer = peers.get(name).filter(|peer| peer.alive());
            // 0 of one that has not told of its disk yet.
            peer.is_some_and(|peer| ![0, id.0].contains(&peer.facts.raft_id))
        };
        let lost = status.voters.iter().filter(|(id, node)| has_other_disk(id, &node.name));
        lost.map(|(_, node)| node.name.to_string()).collect()
    }

    /// What is scraped.
    pub fn gauges(&self) -> ClusterGauges {
        let view = self.view();
        let count = |states: &[&'static str], of: &dyn Fn(&str) -> usize| {
            states.iter().map(|state| (*state, of(state) as u64)).collect::<Vec<_>>()
        };
        let (nodes, shards) = (view.nodes(), view.shards());
        let raft = self.consensus.status();
        let alive = view.peers.values().filter(|peer| peer.alive());
        let held = self.manager.shard_states();
        let copies = || held.iter().filter_map(|held| held.following);
        let is_ahead = |held: &&HeldShard| {
            held.following.is_none() && held.uploaded_generation.unwrap_or(0) != held.generation
        };
        ClusterGauges {
            not_uploaded: held.iter().filter(is_ahead).count() as u64,
            oldest_upload: Duration::from_millis(
                held.iter().filter_map(|held| held.upload_waits_ms).max().unwrap_or(0),
            ),
            cold: self.cold.counts(),
            replicas: copies().count() as u64,
            oldest_replica: Duration::from_millis(
                copies().map(|copy| copy.behind_ms).max().unwrap_or(0),
            ),
            shards: count(&SHARD_STATES, &|state| {
                shards.iter().filter(|shard| shard.state == state).count()
            }),
            nodes: count(&NODE_STATES, &|state| {
                nodes.iter().filter(|node| node.state == state).count()
            }),
            highest_phi: alive.clone().filter_map(|peer| peer.phi).fold(0.0, f64::max),
            moves: shards.iter().filter(|shard| shard.moving_to.is_some()).count() as u64,
            mirrors: self.manager.restored_mirrors(),
            oldest_heartbeat: alive.map(|peer| peer.heartbeat_age).max().unwrap_or_default(),
            term: raft.term,
            applied: raft.applied.unwrap_or(0),
            lag: raft.last_log.unwrap_or(0).saturating_sub(raft.applied.unwrap_or(0)),
            map_version: view.map.version(),
            refused_calls: Refusal::ALL
                .into_iter()
                .map(|reason| (word(reason), self.guard.refused(reason)))
                .collect(),
            refused_packets: self
                .membership
                .counters()
                .refused
                .into_iter()
                .map(|(reason, count)| (word(reason), count))
                .collect(),
        }
    }

    /// Nodes that are alive.
    pub fn alive(&self) -> u64 {
        self.peers().values().filter(|peer| peer.alive()).count() as u64
    }
}

/// The Raft group as those in it tell of it, for a node that takes no part.
fn outside(role: &str, peers: &BTreeMap<NodeName, Peer>) -> Raft {
    let alive = || peers.iter().filter(|(_, peer)| peer.alive());
    let term = alive().map(|(_, peer)| peer.facts.group.term).max().unwrap_or(0);
    let leader = alive().find(|(_, peer)| peer.facts.group.leads && peer.facts.group.term == term);
    let voters = peers.iter().filter(|(_, peer)| peer.facts.group.votes);
    Raft {
        role: role.to_owned(),
        term,
        leader: leader.map(|(name, _)| name.to_string()),
        voters: voters.map(|(name, _)| name.to_string()).collect(),
        lost_voters: Vec::new(),
        last_log: 0,
        committed: alive().map(|(_, peer)| peer.facts.group.committed).max().unwrap_or(0),
        applied: 0,
    }
}

/// Whose disk is lost that votes.
fn without_disk(raft: &Raft) -> Option<String> {
    (!raft.lost_voters.is_empty()).then(|| {
        format!(
            "{}: the disk is lost that votes in the Raft group; another node gets the vote, and until then no other \
             voter's disk may be lost",
            raft.lost_voters.join(", ")
        )
    })
}

/// A reason as a label.
fn word(reason: impl std::fmt::Debug) -> String {
    format!("{reason:?}").to_ascii_lowercase()
}

const SHARD_STATES: [&str; 6] =
    ["serving", "suspected", "read-only", "restoring", "unavailable", "unassigned"];
const NODE_STATES: [&str; 6] = ["alive", "suspected", "joining", "draining", "left", "dead"];

impl View {
    fn nodes(&self) -> Vec<Node> {
        let members = self.map.members().keys();
        let mut counts: BTreeMap<&NodeName, Counts> =
            members.chain(self.peers.keys()).map(|name| (name, Counts::default())).collect();
        for shard in self.map.shards() {
            if let Some(owner) = &shard.owner {
                counts.entry(owner).or_default().owned += 1;
            }
            for replica in &shard.replicas {
                counts.entry(replica).or_default().replicated += 1;
            }
        }
        counts.into_iter().map(|(name, counts)| self.node(name, counts)).collect()
    }

    fn node(&self, name: &NodeName, counts: Counts) -> Node {
        let peer = self.peers.get(name);
        let facts = peer.map(|peer| (*peer.facts).clone()).unwrap_or_default();
        let leaving = self.map.members().get(name).is_some_and(|member| member.leaving);
        let state = match peer.map(|peer| (peer.liveness, peer.suspected)) {
            None | Some((Liveness::Dead, _)) => "dead",
            Some((Liveness::Left, _)) => "left",
            Some((Liveness::HeardOf, _)) => "joining",
            Some((Liveness::Alive, _)) if facts.draining || leaving => "draining",
            Some((Liveness::Alive, true)) => "suspected",
            Some((Liveness::Alive, false)) => "alive",
        };
        Node {
            name: name.to_string(),
            state: state.to_owned(),
            generation: peer.map_or(0, |peer| peer.generation),
            http: facts.http,
            grpc: facts.grpc,
            gossip: peer.map(|peer| peer.gossip.to_string()).unwrap_or_default(),
            version: facts.version,
            heartbeat_age_ms: peer
                .map(|peer| u64::try_from(peer.heartbeat_age.as_millis()).unwrap_or(u64::MAX)),
            phi: peer.and_then(|peer| peer.phi),
            load_permille: facts.load_permille,
            disk_total: facts.disk_total,
            disk_free: facts.disk_free,
            shards_owned: counts.owned,
            shards_replicated: counts.replicated,
            shards_serving: if matches!(state, "dead" | "left") { 0 } else { facts.shards_serving },
            voter: self.voters.contains(name.as_str()),
        }
    }

    fn shards(&self) -> Vec<Shard> {
        (0..).zip(self.map.shards()).map(|(number, shard)| self.shard(number, shard)).collect()
    }

    fn shard(&self, number: u32, shard: &shard_map::Shard) -> Shard {
        let owner = shard.owner.as_ref();
        let peer = owner.and_then(|owner| self.peers.get(owner)).filter(|peer| !peer.gone());
        let id = ShardId(number);
        let served = peer.and_then(|peer| peer.facts.shard_bytes.get(&id)).copied();
        let bytes = served.or_else(|| peer?.facts.read_only_bytes.get(&id).copied());
        let (state, waits_for) = match (owner, peer, bytes) {
            (None, _, _) => ("unassigned", Some("a leader that gives it an owner".to_owned())),
            (Some(owner), None, _) => {
                ("unavailable", Some(format!("{owner} is dead; another node is to take over")))
            }
            (Some(owner), Some(_), None) => ("restoring", Some(format!("{owner} to open it"))),
            (Some(owner), Some(peer), Some(_)) if peer.suspected && *owner != self.me => {
                ("suspected", Some(format!("{owner}, which is slow to answer or gone")))
            }
            (Some(owner), Some(_), Some(_)) if served.is_none() => {
                let what = "to take it over, which needs the database; meanwhile it is searched";
                ("read-only", Some(format!("{owner} {what}")))
            }
            (Some(_), Some(_), Some(_)) => ("serving", self.missing_copies(shard)),
        };
        let text = |name: &Option<NodeName>| name.as_ref().map(NodeName::to_string);
        Shard {
            shard: number,
            epoch: shard.epoch.0,
            owner: text(&shard.owner),
            replicas: shard.replicas.iter().map(NodeName::to_string).collect(),
            pin: text(&shard.pin),
            moving_to: text(&shard.moving_to),
            state: state.to_owned(),
            waits_for,
            bytes: bytes.unwrap_or(0),
        }
    }
}

impl View {
    /// Why a shard has fewer copies than it should have, if it has.
    fn missing_copies(&self, shard: &shard_map::Shard) -> Option<String> {
        let missing = self.copies.saturating_sub(1 + shard.replicas.len());
        (missing > 0).then(|| format!("nodes for {missing} more copies"))
    }

    /// What its receiver has told of a shard that is moved.
    fn moving(&self, shard: &Shard) -> Option<Move> {
        let (from, to) = (shard.owner.clone()?, shard.moving_to.clone()?);
        let id = ShardId(shard.shard);
        let is_copied = self.map.shard(id).is_some_and(|shard| shard.copied);
        let told = to.parse::<NodeName>().ok().and_then(|to| self.peers.get(&to));
        let told = told.and_then(|peer| peer.facts.restores.get(&id)).copied().unwrap_or_default();
        Some(Move {
            shard: shard.shard,
            from,
            to,
            bytes: shard.bytes,
            bytes_done: if is_copied { shard.bytes } else { told.done },
            remaining_ms: if is_copied { Some(0) } else { told.remaining_ms() },
        })
    }

    /// What nodes have told of shards that they bring to their disks.
    fn restores(&self) -> Vec<Restore> {
        let present = self.peers.iter().filter(|(_, peer)| !peer.gone());
        let restores = present.flat_map(|(name, peer)| {
            peer.facts.restores.iter().map(|(shard, told)| Restore {
                shard: shard.0,
                node: name.to_string(),
                bytes_done: told.done,
                bytes_total: told.total,
                remaining_ms: told.remaining_ms(),
            })
        });
        restores.collect()
    }
}

impl Cluster {
    /// Red where something is not served; yellow where something else is not as it should be.
    fn health(
        &self,
        nodes: &[Node],
        unhealthy: &[Shard],
        shards: usize,
        raft: &Raft,
    ) -> (Health, Vec<String>) {
        let mut reasons = Vec::new();
        let mut health = Health::Green;
        let of = |states: &[&str]| {
            let is_so = |shard: &&Shard| states.contains(&shard.state.as_str());
            unhealthy.iter().filter(is_so).count()
        };
        let not_served = of(&["restoring", "unavailable", "unassigned"]);
        if not_served > 0 {
            health = Health::Red;
            reasons.push(format!("{not_served} of {shards} shards are not served"));
            reasons.extend(self.lacks_map());
        }
        let mut yellow = |reason: String| {
            health = health.max(Health::Yellow);
            reasons.push(reason);
        };
        for (state, what) in [
            ("suspected", "are owned by nodes that are slow to answer or gone"),
            ("read-only", "are searched and not indexed until the database answers their owners"),
            ("serving", "have fewer copies than `cluster.replicas` says"),
        ] {
            match of(&[state]) {
                0 => {}
                count => yellow(format!("{count} of {shards} shards {what}")),
            }
        }
        if raft.leader.is_none() {
            yellow(
                "nobody that this node knows of leads: no shard changes its owner meanwhile"
                    .to_owned(),
            );
        }
        without_disk(raft).into_iter().for_each(&mut yellow);
        let used =
            |node: &Node| DiskSpace { total: node.disk_total, free: node.disk_free }.used_percent();
        let critical = |node: &&Node| used(node) >= self.disk_critical_percent;
        let full = |node: &&Node| used(node) >= self.disk_high_percent && !critical(node);
        let state = |state: &'static str| move |node: &&Node| node.state == state;
        let kinds: [(&str, Vec<&Node>); 5] = [
            ("dead", nodes.iter().filter(state("dead")).collect()),
            ("slow to answer", nodes.iter().filter(state("suspected")).collect()),
            ("about to stop", nodes.iter().filter(state("draining")).collect()),
            ("short of disk space: it gets no more shards", nodes.iter().filter(full).collect()),
            (
                "out of disk space: it neither fetches nor indexes, and gets no more shards",
                nodes.iter().filter(critical).collect(),
            ),
        ];
        for (what, of) in kinds {
            if !of.is_empty() {
                let names: Vec<&str> = of.iter().map(|node| node.name.as_str()).collect();
                yellow(format!("{}: {what}", names.join(", ")));
            }
        }
        let troubles = [self.uploads_waiting(), self.cold_trouble(), self.clocks_off()];
        troubles.into_iter().flatten().for_each(yellow);
        (health, reasons)
    }

    /// Whose clock, or whether this node's, is off: they are dead to one another.
    fn clocks_off(&self) -> Option<String> {
        let from: Vec<String> =
            self.membership.counters().clocks_off.iter().map(ToString::to_string).collect();
        (!from.is_empty()).then(|| {
            format!(
                "the clocks of {} and of the nodes that gossip from {} are more than two minutes apart: they refuse \
                 each other's packets; set the clock that is off",
                self.name,
                from.join(", ")
            )
        })
    }

    /// What this node cannot bring to cold storage.
    fn uploads_waiting(&self) -> Option<String> {
        let held = self.manager.shard_states();
        let failing = || held.iter().filter(|held| held.upload_error.is_some());
        let shard = failing().max_by_key(|held| held.upload_waits_ms)?;
        let error = shard.upload_error.as_deref().unwrap_or_default();
        Some(format!(
            "{} shards of {} wait to be uploaded, shard {} for {} s: {error}",
            failing().count(),
            self.name,
            shard.shard,
            shard.upload_waits_ms.unwrap_or(0) / 1000,
        ))
    }

    /// What cold storage does not do for this node.
    fn cold_trouble(&self) -> Option<String> {
        let trouble = self.cold.trouble()?;
        let (verb, seconds) = (trouble.action.verb(), trouble.lasts.as_secs());
        Some(format!(
            "cold storage fails {} in {verb}, for {seconds} s: {}",
            self.name, trouble.reason
        ))
    }
}
