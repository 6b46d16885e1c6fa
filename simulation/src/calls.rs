//! Calls between nodes, over the simulated network: one packet there and one back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aeterna_cluster::consensus::{RaftId, RaftNode, RaftTransport, TransportError};
use aeterna_cluster::name::NodeName;
use aeterna_cluster::peers::messages;
use aeterna_cluster::shard_map::{Command, ShardMap};
use aeterna_cluster::supervisor::{PeerApi, PeerFailure, Proposed};
use aeterna_proto::{
    ProposeResponse, RaftRequest, RaftResponse, ShardMapRequest, ShardMapResponse,
};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::network::{Packet, Wire};

/// Bytes before what a packet carries: who sent it, what it is, the method and the number of the call.
const HEADER: usize = 11;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// A message of the Raft group.
    Raft,
    /// The shard map.
    ShardMap,
    /// A command for the shard map.
    Propose,
    /// Who is alive; it is not answered.
    Beat,
    /// A client adds a document.
    Add,
    /// A client reads a shard.
    Read,
    /// A node that does not own the shard passes on what a client asked.
    ForwardedAdd,
    /// The same for a read.
    ForwardedRead,
    /// Someone moves a shard.
    Move,
}

impl Method {
    const ALL: [Self; 9] = [
        Self::Raft,
        Self::ShardMap,
        Self::Propose,
        Self::Beat,
        Self::Add,
        Self::Read,
        Self::ForwardedAdd,
        Self::ForwardedRead,
        Self::Move,
    ];
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Answer,
    Failure,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// None came in time.
    Timeout(Duration),
    /// The other node said why.
    Refused(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout(after) => write!(f, "no answer in {after:?}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

/// Who answers calls.
#[async_trait]
pub trait Answer: Send + Sync + 'static {
    /// Answers a call of a node.
    async fn answer(&self, from: usize, method: Method, body: Bytes) -> Result<Vec<u8>, String>;

    /// Takes in what is not answered.
    fn hear(&self, from: usize, body: &[u8]);
}

type Waiting = BTreeMap<u64, oneshot::Sender<Result<Bytes, String>>>;

/// The calls of one life of a node.
pub struct Calls {
    me: usize,
    wire: Arc<Wire>,
    /// The number of the next call, and who waits for the answers to earlier ones.
    waiting: Mutex<(u64, Waiting)>,
}

impl Calls {
    /// Of a node, in one of its lives: an answer to an earlier life is nobody's.
    pub fn new(me: usize, life: u64, wire: Arc<Wire>) -> Arc<Self> {
        Arc::new(Self { me, wire, waiting: Mutex::new((life << 32, Waiting::new())) })
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Waiting)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, to: usize, kind: Kind, method: Method, call: u64, body: &[u8]) {
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend([self.me as u8, kind as u8, method as u8]);
        bytes.extend(call.to_le_bytes());
        bytes.extend(body);
        self.wire.send(Packet { to, bytes: bytes.into() });
    }

    /// Tells a node something.
    pub fn tell(&self, to: usize, body: &[u8]) {
        self.send(to, Kind::Request, Method::Beat, 0, body);
    }

    /// Asks a node.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn call(
        &self,
        to: usize,
        method: Method,
        body: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let (sender, answer) = oneshot::channel();
        let call = {
            let mut waiting = self.lock();
            let call = waiting.0;
            waiting.0 += 1;
            waiting.1.insert(call, sender);
            call
        };
        self.send(to, Kind::Request, method, call, body);
        let answer = timeout(deadline, answer).await;
        self.lock().1.remove(&call);
        match answer {
            Ok(Ok(Ok(body))) => Ok(body),
            Ok(Ok(Err(why))) => Err(CallError::Refused(why)),
            Ok(Err(_)) | Err(_) => Err(CallError::Timeout(deadline)),
        }
    }

    /// Takes packets in and has them answered, for as long as the node lives.
    pub async fn serve(
        self: Arc<Self>,
        mut packets: UnboundedReceiver<Bytes>,
        answers: Arc<dyn Answer>,
    ) {
        while let Some(packet) = packets.recv().await {
            let Some((from, kind, method, call, body)) = read(packet) else { continue };
            match kind {
                Kind::Request if method == Method::Beat => answers.hear(from, &body),
                Kind::Request => {
                    let (calls, answers) = (Arc::clone(&self), Arc::clone(&answers));
                    tokio::spawn(async move {
                        match answers.answer(from, method, body).await {
                            Ok(body) => calls.send(from, Kind::Answer, method, call, &body),
                            Err(why) => {
                                calls.send(from, Kind::Failure, method, call, why.as_bytes());
                            }
                        }
                    });
                }
                Kind::Answer | Kind::Failure => {
                    let waiting = self.lock().1.remove(&call);
                    let answer = match kind {
                        Kind::Failure => Err(String::from_utf8_lossy(&body).into_owned()),
                        Kind::Answer | Kind::Request => Ok(body),
                    };
                    // Who asked may have given up.
                    let _ = waiting.map(|waiting| waiting.send(answer));
                }
            }
        }
    }
}

fn read(packet: Bytes) -> Option<(usize, Kind, Method, u64, Bytes)> {
    let [from, kind, method, call @ ..] = packet.get(..HEADER)? else { return None };
    let kinds = [Kind::Request, Kind::Answer, Kind::Failure];
    let kind = *kinds.get(usize::from(*kind))?;
    let method = *Method::ALL.get(usize::from(*method))?;
    let call = u64::from_le_bytes(call.try_into().ok()?);
    Some((usize::from(*from), kind, method, call, packet.slice(HEADER..)))
}

/// The number in a node's name.
pub fn number_of(name: &NodeName) -> usize {
    let number = name.as_str().rsplit('-').next().and_then(|number| number.parse().ok());
    number.unwrap_or(usize::MAX)
}

#[async_trait]
impl RaftTransport for Calls {
    async fn call(
        &self,
        target: RaftId,
        node: &RaftNode,
        kind: &'static str,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let request =
            RaftRequest { kind: kind.to_owned(), target: target.0, payload: payload.into() };
        let to = number_of(&node.name);
        let answer = Calls::call(self, to, Method::Raft, &request.encode_to_vec(), deadline).await;
        let unreachable = |why: String| TransportError::Unreachable(why);
        match answer {
            Ok(body) => RaftResponse::decode(body)
                .map(|response| response.payload.into())
                .map_err(|error| unreachable(error.to_string())),
            Err(CallError::Timeout(after)) => Err(TransportError::Timeout(after)),
            Err(CallError::Refused(why)) => Err(unreachable(why)),
        }
    }
}

#[async_trait]
impl PeerApi for Calls {
    async fn pull_map(
        &self,
        from: &RaftNode,
        newer_than: u64,
        deadline: Duration,
    ) -> Result<Option<ShardMap>, PeerFailure> {
        let failure = |detail: String| PeerFailure::of(from, detail);
        let request = ShardMapRequest { version: newer_than }.encode_to_vec();
        let answer = self.call(number_of(&from.name), Method::ShardMap, &request, deadline).await;
        let answer = answer.map_err(|error| failure(error.to_string()))?;
        let response = ShardMapResponse::decode(answer);
        let response = response.map_err(|error| failure(error.to_string()))?;
        messages::newer_map(&response).map_err(failure)
    }

    async fn propose(
        &self,
        to: &RaftNode,
        command: &Command,
        deadline: Duration,
    ) -> Result<Proposed, PeerFailure> {
        let failure = |detail: String| PeerFailure::of(to, detail);
        let request = messages::proposal(command).map_err(failure)?.encode_to_vec();
        let answer = self.call(number_of(&to.name), Method::Propose, &request, deadline).await;
        let answer = answer.map_err(|error| failure(error.to_string()))?;
        let response = ProposeResponse::decode(answer);
        let response = response.map_err(|error| failure(error.to_string()))?;
        messages::proposed(response).map_err(failure)
    }

    fn set_addresses(&self, _addresses: BTreeMap<NodeName, String>) {
        // A node's address follows from its name.
    }
}
