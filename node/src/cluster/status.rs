//! How the cluster is, as this node sees it: from what it knows, without asking anyone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aeterna_cluster::gossip::{Liveness, Peer};
use aeterna_cluster::name::NodeName;
use aeterna_cluster::shard_map::{self, ShardMap};
use aeterna_repo::{HeldShard, ShardState};
use axum::http::StatusCode;

use super::Cluster;
use super::metrics::ClusterGauges;
use crate::api::cluster::{ClusterStatus, Health, Move, Node, Raft, Restore, Shard, ShardList};
use crate::http::problem::Problem;

/// What the view of the cluster is made of, at one moment.
struct View {
    map: std::sync::Arc<ShardMap>,
    peers: std::sync::Arc<BTreeMap<NodeName, Peer>>,
    voters: BTreeSet<NodeName>,
}

impl Cluster {
    fn view(&self) -> View {
        let status = self.consensus.status();
        View {
            map: self.map(),
            peers: self.membership.peers().borrow().clone(),
            voters: status.voters.values().map(|node| node.name.clone()).collect(),
        }
    }

    /// Everything that this node knows of the cluster.
    pub fn status(&self) -> ClusterStatus {
        let view = self.view();
        let raft = self.raft();
        let nodes = view.nodes();
        let shards: Vec<Shard> = view.shards();
        let unhealthy: Vec<Shard> =
            shards.iter().filter(|shard| shard.state != "serving").cloned().collect();
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
            moves: shards.iter().filter_map(moving).collect(),
            unhealthy_shards: unhealthy,
            restores: self.restores(),
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
        Raft {
            role: format!("{:?}", status.role).to_ascii_lowercase(),
            term: status.term,
            leader: status.leader_node.map(|node| node.name.to_string()),
            voters: status.voters.values().map(|node| node.name.to_string()).collect(),
            last_log: status.last_log.unwrap_or(0),
            committed: status.committed.unwrap_or(0),
            applied: status.applied.unwrap_or(0),
        }
    }

    fn restores(&self) -> Vec<Restore> {
        let restoring = self.manager.shard_states().into_iter().filter_map(|held| {
            let ShardState::Restoring { done, total } = held.state else { return None };
            let elapsed = self.starts.of(held.shard).map(|begun| begun.elapsed().as_millis());
            let left = u128::from(total.saturating_sub(done));
            let remaining =
                elapsed.filter(|_| done > 0).map(|elapsed| elapsed * left / u128::from(done));
            Some(Restore {
                shard: held.shard,
                bytes_done: done,
                bytes_total: total,
                remaining_ms: remaining.and_then(|left| u64::try_from(left).ok()),
            })
        });
        restoring.collect()
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
            oldest_heartbeat: alive.map(|peer| peer.heartbeat_age).max().unwrap_or_default(),
            term: raft.term,
            applied: raft.applied.unwrap_or(0),
            lag: raft.last_log.unwrap_or(0).saturating_sub(raft.applied.unwrap_or(0)),
            map_version: view.map.version(),
            refused_packets: self
                .membership
                .counters()
                .refused
                .into_iter()
                .map(|(reason, count)| (format!("{reason:?}").to_ascii_lowercase(), count))
                .collect(),
        }
    }

    /// Nodes that are alive.
    pub fn alive(&self) -> u64 {
        self.membership.peers().borrow().values().filter(|peer| peer.alive()).count() as u64
    }
}

const SHARD_STATES: [&str; 4] = ["serving", "restoring", "unavailable", "unassigned"];
const NODE_STATES: [&str; 6] = ["alive", "suspected", "joining", "draining", "left", "dead"];

impl View {
    fn nodes(&self) -> Vec<Node> {
        let mut names: BTreeSet<&NodeName> = self.map.members().keys().collect();
        names.extend(self.peers.keys());
        names.into_iter().map(|name| self.node(name)).collect()
    }

    fn node(&self, name: &NodeName) -> Node {
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
        let count = |holds: &dyn Fn(&shard_map::Shard) -> bool| {
            let held = self.map.shards().iter().filter(|shard| holds(shard)).count();
            u32::try_from(held).unwrap_or(u32::MAX)
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
            shards_owned: count(&|shard| shard.owner.as_ref() == Some(name)),
            shards_replicated: count(&|shard| shard.replicas.contains(name)),
            shards_serving: if matches!(state, "dead" | "left") { 0 } else { facts.shards_serving },
            voter: self.voters.contains(name),
        }
    }

    fn shards(&self) -> Vec<Shard> {
        (0..).zip(self.map.shards()).map(|(number, shard)| self.shard(number, shard)).collect()
    }

    fn shard(&self, number: u32, shard: &shard_map::Shard) -> Shard {
        let owner = shard.owner.as_ref();
        let peer = owner.and_then(|owner| self.peers.get(owner)).filter(|peer| !peer.gone());
        let id = aeterna_cluster::name::ShardId(number);
        let bytes = peer.and_then(|peer| peer.facts.shard_bytes.get(&id)).copied();
        let (state, waits_for) = match (owner, peer, bytes) {
            (None, _, _) => ("unassigned", Some("a leader that gives it an owner".to_owned())),
            (Some(owner), None, _) => {
                ("unavailable", Some(format!("{owner} is dead; another node is to take over")))
            }
            (Some(owner), Some(_), None) => ("restoring", Some(format!("{owner} to open it"))),
            (Some(_), Some(_), Some(_)) => ("serving", None),
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

fn moving(shard: &Shard) -> Option<Move> {
    Some(Move {
        shard: shard.shard,
        from: shard.owner.clone()?,
        to: shard.moving_to.clone()?,
        bytes: shard.bytes,
    })
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
        if !unhealthy.is_empty() {
            health = Health::Red;
            reasons.push(format!("{} of {shards} shards are not served", unhealthy.len()));
        }
        let mut yellow = |reason: String| {
            health = health.max(Health::Yellow);
            reasons.push(reason);
        };
        if raft.leader.is_none() {
            yellow(
                "nobody that this node knows of leads: no shard changes its owner meanwhile"
                    .to_owned(),
            );
        }
        let full = |node: &&Node| {
            let used = node.disk_total.saturating_sub(node.disk_free);
            u128::from(used) * 100
                > u128::from(node.disk_total) * u128::from(self.disk_high_percent)
        };
        let state = |state: &'static str| move |node: &&Node| node.state == state;
        let kinds: [(&str, Vec<&Node>); 4] = [
            ("dead", nodes.iter().filter(state("dead")).collect()),
            ("slow to answer", nodes.iter().filter(state("suspected")).collect()),
            ("about to stop", nodes.iter().filter(state("draining")).collect()),
            ("out of disk space and gets no more shards", nodes.iter().filter(full).collect()),
        ];
        for (what, of) in kinds {
            if !of.is_empty() {
                let names: Vec<&str> = of.iter().map(|node| node.name.as_str()).collect();
                yellow(format!("{}: {what}", names.join(", ")));
            }
        }
        (health, reasons)
    }
}
