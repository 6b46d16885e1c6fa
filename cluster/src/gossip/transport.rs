//! chitchat's datagrams, sealed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use async_trait::async_trait;
use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::codec::{Decoder, Encoder};
use super::counters::Counting;
use super::seal::{ClusterKeys, Opener, Rejection, SealError, Sealer};

/// The largest datagram that can come.
const LARGEST: usize = 65_535;
/// Messages that wait for chitchat, at most.
const WAITING: usize = 256;
/// How long to wait when the socket cannot be read for the moment.
const PAUSE: Duration = Duration::from_millis(100);

/// The keys in use, shared by whoever sends, receives and replaces them.
pub struct Seals {
    cluster: Uuid,
    sealer: Mutex<Sealer>,
    opener: Mutex<Opener>,
}

impl Seals {
    pub fn new(keys: &ClusterKeys, cluster: Uuid) -> Result<Self, SealError> {
        let sealer = Mutex::new(Sealer::new(&keys.current, cluster)?);
        Ok(Self { cluster, sealer, opener: Mutex::new(Opener::new(keys, cluster)) })
    }

    /// From now on, these keys.
    pub fn replace(&self, keys: &ClusterKeys) -> Result<(), SealError> {
        let sealer = Sealer::new(&keys.current, self.cluster)?;
        *self.sealer.lock().unwrap_or_else(PoisonError::into_inner) = sealer;
        self.opener.lock().unwrap_or_else(PoisonError::into_inner).replace_keys(keys);
        Ok(())
    }

    fn seal(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, SealError> {
        self.sealer.lock().unwrap_or_else(PoisonError::into_inner).seal(message, now_ms())
    }

    fn open(&self, packet: &[u8]) -> Result<Option<Vec<u8>>, Rejection> {
        self.opener.lock().unwrap_or_else(PoisonError::into_inner).open(packet, now_ms())
    }
}

/// A socket that is bound already: chitchat is given it when it asks for one.
pub struct SealedTransport {
    socket: Mutex<Option<SealedSocket>>,
}

impl SealedTransport {
    /// Seals what goes out through a socket, and opens what comes in.
    pub async fn new(
        socket: Arc<UdpSocket>,
        seals: Arc<Seals>,
        counting: Arc<Counting>,
    ) -> anyhow::Result<Self> {
        let encoder = Encoder::open().await?;
        let decoder = Decoder::open().await?;
        let (sender, incoming) = mpsc::channel(WAITING);
        let reader = Reader {
            socket: Arc::clone(&socket),
            seals: Arc::clone(&seals),
            counting: Arc::clone(&counting),
            decoder,
            sender,
        };
        let reading = tokio::spawn(reader.run()).abort_handle();
        let socket = SealedSocket { socket, seals, counting, encoder, incoming, reading };
        Ok(Self { socket: Mutex::new(Some(socket)) })
    }
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Box::new(socket.context("the socket for gossip is in use")?))
    }
}

struct SealedSocket {
    socket: Arc<UdpSocket>,
    seals: Arc<Seals>,
    counting: Arc<Counting>,
    encoder: Encoder,
    incoming: mpsc::Receiver<RecvOutcome>,
    reading: AbortHandle,
}

impl Drop for SealedSocket {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl SealedSocket {
    async fn send_sealed(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<usize> {
        let message = self.encoder.encode(envelope).await?;
        let mut bytes = 0;
        for packet in self.seals.seal(message)? {
            bytes += self.socket.send_to(&packet, reachable(&self.socket, to)).await?;
            self.counting.sent(packet.len());
        }
        Ok(bytes)
    }
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr().context("the socket for gossip has no address")
    }

    // An error would say that nothing can ever be sent again. A peer that cannot be reached, and a
    // message that is lost, are what gossip is made for.
    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let sent = self.send_sealed(to, envelope).await;
        let num_bytes_sent = sent.unwrap_or_else(|error| {
            self.counting.send_failed(to, &error);
            0
        });
        Ok(SendOutcome { num_bytes_sent })
    }

    // chitchat drops this future when it has something else to do; nothing is lost by that.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.incoming.recv().await.context("what reads the socket for gossip has ended")
    }
}

/// Takes packets from the network, for as long as chitchat wants any.
struct Reader {
    socket: Arc<UdpSocket>,
    seals: Arc<Seals>,
    counting: Arc<Counting>,
    decoder: Decoder,
    sender: mpsc::Sender<RecvOutcome>,
}

impl Reader {
    async fn run(mut self) {
        let mut buffer = vec![0; LARGEST];
        while !self.sender.is_closed() {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, from)) => self.take(&buffer[..length], canonical(from)).await,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "the socket for gossip cannot be read");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn take(&mut self, packet: &[u8], from_addr: SocketAddr) {
        let message = match self.seals.open(packet) {
            Ok(message) => message,
            Err(reason) => return self.counting.refused(reason, from_addr),
        };
        self.counting.received(packet.len());
        let Some(message) = message else {
            return;
        };
        match self.decoder.decode(&message).await {
            Ok(Some(envelope)) => {
                let num_bytes_received = message.len();
                let received = RecvOutcome { from_addr, envelope, num_bytes_received };
                if self.sender.try_send(received).is_err() {
                    self.counting.overrun();
                }
            }
            Ok(None) => self.counting.refused(Rejection::Malformed, from_addr),
            Err(error) => tracing::warn!("a gossip message is lost: {error:#}"),
        }
    }
}

/// What a peer that is gone, or a system that is short of memory, does to a socket for a moment.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | Interrupted)
}

/// An address as this socket can send to it: one of IPv6 takes those of IPv4 in the mapped form.
fn reachable(socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    let over_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    match to.ip() {
        IpAddr::V4(ip) if over_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}

/// An address as nodes tell it.
fn canonical(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
