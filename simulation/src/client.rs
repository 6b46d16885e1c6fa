//! Clients: they add documents through any node, and read shards; some clusters have one who moves shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;

use crate::calls::{Answer, Calls, Method};
use crate::catalog::{Document, Right};
use crate::chance::Chance;
use crate::judge::Judge;
use crate::machine::Clock;
use crate::network::Wire;
use crate::node::{Answered, Asked, Move, Size};

/// Clients at once.
const CLIENTS: usize = 3;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// What all clients share.
pub struct Clients {
    /// How they ask.
    calls: Arc<Calls>,
    /// The cluster.
    size: Size,
    /// Who is told.
    judge: Arc<Judge>,
    /// Whether they go on.
    go_on: AtomicBool,
    /// Documents that were made.
    documents: AtomicU64,
    /// Clients that have not ended.
    busy: AtomicUsize,
}

impl Clients {
    /// So many clients, who begin now.
    pub fn start(
        wire: &Arc<Wire>,
        size: Size,
        judge: &Arc<Judge>,
        clock: &Clock,
        chance: &mut Chance,
    ) -> Arc<Self> {
        let calls = Calls::new(size.nodes, 1, Arc::clone(wire));
        let clients = Arc::new(Self {
            calls: Arc::clone(&calls),
            size,
            judge: Arc::clone(judge),
            go_on: AtomicBool::new(true),
            documents: AtomicU64::new(1),
            busy: AtomicUsize::new(CLIENTS),
        });
        clock.spawn(calls.serve(wire.listen(), Arc::new(Silent)));
        for _ in 0..CLIENTS {
            clock.spawn(Arc::clone(&clients).run(chance.fork()));
        }
        let mut chance = chance.fork();
        if chance.permille(500) {
            clients.busy.fetch_add(1, Ordering::Relaxed);
            clock.spawn(Arc::clone(&clients).operate(chance));
        }
        clients
    }

    /// Whether one of them has not stopped.
    pub fn are_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Has the clients stop.
    pub fn stop(&self) {
        self.go_on.store(false, Ordering::Relaxed);
    }

    /// Asks through a node.
    async fn ask(&self, through: usize, asked: Asked) -> Result<Answered, String> {
        let method = if asked.document.is_some() { Method::Add } else { Method::Read };
        let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
        let answer = self.calls.call(through, method, &body, PATIENCE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }

    /// Adds a document.
    async fn add(&self, through: usize, shard: u32, document: Document) {
        let asked = Asked { shard, document: Some(document), epoch: None, hedges: false };
        match self.ask(through, asked).await {
            Ok(_) => self.judge.acknowledged(shard, document),
            Err(why) => self.judge.log(|| {
                format!("document {document} of shard {shard} through node {through}: {why}")
            }),
        }
    }

    /// Reads a shard.
    async fn read(&self, through: usize, shard: u32, hedges: bool) -> Option<Answered> {
        let asked = self.judge.moment();
        let answered =
            self.ask(through, Asked { shard, document: None, epoch: None, hedges }).await;
        match &answered {
            Ok(Answered { epoch, documents, is_complete }) => {
                self.judge.log(|| {
                    let count = documents.len();
                    let from = match epoch {
                        Some(epoch) => format!("under epoch {epoch}"),
                        None => "in a copy".to_owned(),
                    };
                    format!(
                        "shard {shard} through node {through}: {count} documents {from}, \
                         complete: {is_complete}"
                    )
                });
                if *is_complete {
                    // A copy has what was indexed under any epoch, or says that it has not.
                    let right = Right { shard, epoch: epoch.unwrap_or(u64::MAX) };
                    self.judge.read(right, asked, &documents.iter().copied().collect());
                }
            }
            Err(why) => {
                self.judge.log(|| format!("shard {shard} through node {through}: {why}"));
            }
        }
        answered.ok()
    }

    /// One client, until it is told to end.
    async fn run(self: Arc<Self>, mut chance: Chance) {
        while self.go_on.load(Ordering::Relaxed) {
            sleep(chance.millis(100, 1_500)).await;
            let through = chance.index(self.size.nodes);
            let shard = u32::try_from(chance.below(self.size.shards.into())).unwrap_or(0);
            if chance.permille(600) {
                let several = 0..chance.between(1, 3);
                let documents = several.map(|_| self.documents.fetch_add(1, Ordering::Relaxed));
                let adding = documents.map(|document| self.add(through, shard, document));
                futures_util::future::join_all(adding).await;
            } else {
                let hedges = self.size.copies > 1 && chance.permille(400);
                self.read(through, shard, hedges).await;
            }
        }
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has a shard moved to a node.
    async fn move_shard(&self, through: usize, wanted: Move) {
        let Ok(body) = serde_json::to_vec(&wanted) else { return };
        let told = match self.calls.call(through, Method::Move, &body, PATIENCE).await {
            Ok(told) => String::from_utf8_lossy(&told).into_owned(),
            Err(error) => error.to_string(),
        };
        self.judge.log(|| format!("{wanted:?} through node {through}: {told}"));
    }

    /// One who moves shards, until it is told to end.
    async fn operate(self: Arc<Self>, mut chance: Chance) {
        let most = chance.between(1_500, 8_000);
        while self.go_on.load(Ordering::Relaxed) {
            sleep(chance.millis(500, most)).await;
            let (through, to) = (chance.index(self.size.nodes), chance.index(self.size.nodes));
            let shard = u32::try_from(chance.below(self.size.shards.into())).unwrap_or(0);
            self.move_shard(through, Move { shard, to }).await;
        }
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Reads every shard through every node, and in its copies; what is wrong with an answer, if anything is.
    pub async fn read_all(&self) -> Option<String> {
        let nodes = 0..self.size.nodes;
        let pairs = nodes.flat_map(|node| (0..self.size.shards).map(move |shard| (node, shard)));
        let kinds = if self.size.copies > 1 { &[false, true][..] } else { &[false] };
        let all = pairs.flat_map(|pair| kinds.iter().map(move |hedges| (pair, *hedges)));
        let reading = all.map(|((node, shard), hedges)| self.read_kept(node, shard, hedges));
        futures_util::future::join_all(reading).await.into_iter().flatten().next()
    }

    async fn read_kept(&self, through: usize, shard: u32, hedges: bool) -> Option<String> {
        let Some(found) = self.read(through, shard, hedges).await else {
            return Some(format!("shard {shard} cannot be read through node {through}"));
        };
        if !found.is_complete {
            return Some(format!("shard {shard} is not complete through node {through}"));
        }
        let mut lost = self.judge.kept(shard);
        found.documents.iter().for_each(|document| _ = lost.remove(document));
        if !lost.is_empty() {
            self.judge.wrong(format!("{lost:?} of shard {shard} were acknowledged and are lost"));
        }
        None
    }
}

/// Nobody asks a client.
struct Silent;

#[async_trait]
impl Answer for Silent {
    async fn answer(&self, _from: usize, _method: Method, _body: Bytes) -> Result<Vec<u8>, String> {
        Err("this is a client".to_owned())
    }

    fn hear(&self, _from: usize, _body: &[u8]) {}
}
