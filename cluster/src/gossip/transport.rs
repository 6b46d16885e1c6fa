//! chitchat's datagrams, sealed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, Deserializable, Serializable};
use tokio::net::UdpSocket;
use uuid::Uuid;

use super::seal::{ClusterKeys, Opener, Rejection, Sealer};

/// The largest datagram that can come.
const LARGEST: usize = 65_535;
/// How often one kind of refused packets is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Packets that were not taken, by reason.
#[derive(Debug, Default)]
pub struct Refused {
    counts: [AtomicU64; Rejection::ALL.len()],
    logged: Mutex<[Option<Instant>; Rejection::ALL.len()]>,
}

impl Refused {
    /// How many were refused for a reason since the start.
    pub fn count(&self, reason: Rejection) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    fn add(&self, reason: Rejection, from: SocketAddr) {
        let count = self.counts[reason as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut logged[reason as usize];
        if last.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(%from, count, %reason, "gossip packets are refused");
        }
    }
}

/// UDP, sealed with the cluster key.
pub struct SealedTransport {
    keys: ClusterKeys,
    cluster: Uuid,
    refused: Arc<Refused>,
}

impl SealedTransport {
    /// For the nodes of one cluster.
    pub fn new(keys: ClusterKeys, cluster: Uuid) -> Self {
        Self { keys, cluster, refused: Arc::default() }
    }

    /// What was refused.
    pub fn refused(&self) -> Arc<Refused> {
        Arc::clone(&self.refused)
    }
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = UdpSocket::bind(listen)
            .await
            .with_context(|| format!("cannot listen for gossip on {listen}/UDP"))?;
        Ok(Box::new(SealedSocket {
            socket,
            sealer: Sealer::new(&self.keys.current, self.cluster)?,
            opener: Opener::new(&self.keys, self.cluster),
            refused: Arc::clone(&self.refused),
            buffer: vec![0; LARGEST],
        }))
    }
}

struct SealedSocket {
    socket: UdpSocket,
    sealer: Sealer,
    opener: Opener,
    refused: Arc<Refused>,
    buffer: Vec<u8>,
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr().context("the socket for gossip has no address")
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let mut message = Vec::new();
        envelope.serialize(&mut message);
        let mut outcome = SendOutcome { num_bytes_sent: 0 };
        for packet in self.sealer.seal(&message, now_ms())? {
            outcome.num_bytes_sent += self.socket.send_to(&packet, to).await?;
        }
        Ok(outcome)
    }

    // chitchat drops this future when it has something else to do: nothing is lost between awaiting
    // a datagram and returning.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let (length, from_addr) = match self.socket.recv_from(&mut self.buffer).await {
                Ok(received) => received,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error).context("gossip cannot be received any more"),
            };
            let message = match self.opener.open(&self.buffer[..length], now_ms()) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(reason) => {
                    self.refused.add(reason, from_addr);
                    continue;
                }
            };
            match ChitchatEnvelope::deserialize(&mut message.as_slice()) {
                Ok(envelope) => {
                    return Ok(RecvOutcome { from_addr, envelope, num_bytes_received: length });
                }
                Err(error) => {
                    tracing::debug!(%from_addr, %error, "a member's message is not understood");
                    self.refused.add(Rejection::Malformed, from_addr);
                }
            }
        }
    }
}

/// What a peer that is gone, or a system that is short of memory, does to a socket for a moment.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | Interrupted | OutOfMemory)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
