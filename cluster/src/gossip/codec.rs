//! chitchat's messages as bytes, and back.
//!
//! chitchat keeps its encoding to itself: only its own UDP socket applies it. So that socket is used
//! as a codec here, over loopback, within this process. A message that is encoded goes from that
//! socket to one of ours; bytes that are decoded go from one of ours to that socket. Nothing on
//! either way comes from anybody else: our end takes from its counterpart only (the kernel sees to
//! that for a connected socket), and the address of whoever sent is compared on the other way.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chitchat::transport::{Socket, UdpSocket as ChitchatSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use tokio::time::{Instant, sleep, timeout};

/// The largest payload of a UDP datagram over IPv4: chitchat makes no message larger than this.
pub const LARGEST_MESSAGE: usize = 65_507;
/// How long a datagram may take within this machine; one that takes longer is lost.
const WAIT: Duration = Duration::from_millis(500);
/// How long to wait before looking again whether it has come. It has come when it was sent, nearly
/// always: that is why our sockets are read without waiting for the system to say that they can be.
const AGAIN: Duration = Duration::from_millis(1);
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Makes bytes of messages.
pub struct Encoder {
    chitchat: ChitchatSocket,
    ours: UdpSocket,
    our_address: SocketAddr,
    buffer: Vec<u8>,
}

impl Encoder {
    pub async fn open() -> anyhow::Result<Self> {
        let chitchat = ChitchatSocket::open(LOOPBACK).await?;
        let (ours, our_address) = connected_to(&chitchat)?;
        Ok(Self { chitchat, ours, our_address, buffer: vec![0; LARGEST_MESSAGE + 1] })
    }

    /// The bytes of a message.
    pub async fn encode(&mut self, envelope: ChitchatEnvelope) -> anyhow::Result<&[u8]> {
        // What came too late for an earlier call.
        while self.ours.recv(&mut self.buffer).is_ok() {}
        let sent = self.chitchat.send(self.our_address, envelope).await?.num_bytes_sent;
        let started = Instant::now();
        let length = loop {
            match self.ours.recv(&mut self.buffer) {
                Ok(length) => break length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if started.elapsed() > WAIT {
                bail!("a datagram was lost within this machine");
            }
            sleep(AGAIN).await;
        };
        ensure!(length == sent, "{sent} bytes were sent within this machine and {length} came");
        Ok(&self.buffer[..length])
    }
}

/// Makes messages of bytes.
///
/// chitchat's socket says nothing when it does not understand what it got. So each message is
/// followed by a mark, a message that is surely understood, from another socket: when the mark comes
/// first, nothing else will.
pub struct Decoder {
    chitchat: ChitchatSocket,
    ours: UdpSocket,
    our_address: SocketAddr,
    marks: UdpSocket,
    marks_address: SocketAddr,
    mark: Vec<u8>,
}

impl Decoder {
    pub async fn open() -> anyhow::Result<Self> {
        let chitchat = ChitchatSocket::open(LOOPBACK).await?;
        let (ours, our_address) = connected_to(&chitchat)?;
        let (marks, marks_address) = connected_to(&chitchat)?;
        let message = ChitchatMessage::BadCluster;
        let mark = ChitchatEnvelope { version: ProtocolVersion::V0, message };
        let mark = Encoder::open().await?.encode(mark).await?.to_vec();
        Ok(Self { chitchat, ours, our_address, marks, marks_address, mark })
    }

    /// The message of these bytes; `None` when they are none.
    ///
    /// # Errors
    /// When datagrams are lost within this machine. The decoder is as good as new then.
    pub async fn decode(&mut self, message: &[u8]) -> anyhow::Result<Option<ChitchatEnvelope>> {
        if message.len() > LARGEST_MESSAGE {
            return Ok(None);
        }
        match timeout(WAIT, self.pass_through(message)).await {
            Ok(decoded) => decoded,
            Err(_) => {
                // What is still under way must not be taken for what comes next.
                *self = Self::open().await?;
                bail!("a datagram was lost within this machine")
            }
        }
    }

    async fn pass_through(&mut self, message: &[u8]) -> anyhow::Result<Option<ChitchatEnvelope>> {
        self.ours.send(message)?;
        self.marks.send(&self.mark)?;
        let mut decoded = None;
        loop {
            let received = self.chitchat.recv().await?;
            if received.from_addr == self.our_address {
                decoded = Some(received.envelope);
            } else if received.from_addr == self.marks_address {
                return Ok(decoded);
            }
        }
    }
}

/// A socket of ours that exchanges datagrams with chitchat's only.
fn connected_to(chitchat: &ChitchatSocket) -> anyhow::Result<(UdpSocket, SocketAddr)> {
    let ours = UdpSocket::bind(LOOPBACK).context("loopback has no socket for gossip")?;
    ours.set_nonblocking(true)?;
    ours.connect(chitchat.local_addr()?)?;
    let address = ours.local_addr()?;
    Ok((ours, address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bad_cluster(version: ProtocolVersion) -> ChitchatEnvelope {
        ChitchatEnvelope { version, message: ChitchatMessage::BadCluster }
    }

    #[tokio::test]
    async fn messages_come_back_and_others_do_not() {
        let mut encoder = Encoder::open().await.unwrap();
        let mut decoder = Decoder::open().await.unwrap();
        let good = encoder.encode(bad_cluster(ProtocolVersion::V1)).await.unwrap().to_vec();
        let huge = vec![0; LARGEST_MESSAGE + 1];
        for _ in 0..3 {
            for bad in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &good[..1], &[255; 65_507], &huge] {
                assert_eq!(decoder.decode(bad).await.unwrap(), None);
            }
            let message = decoder.decode(&good).await.unwrap();
            assert_eq!(message, Some(bad_cluster(ProtocolVersion::V1)));
        }
    }

    #[tokio::test]
    async fn strangers_on_this_machine_are_not_heard() {
        let mut encoder = Encoder::open().await.unwrap();
        let mut decoder = Decoder::open().await.unwrap();
        let good = encoder.encode(bad_cluster(ProtocolVersion::V0)).await.unwrap().to_vec();
        let stranger = UdpSocket::bind(LOOPBACK).unwrap();
        let to = decoder.chitchat.local_addr().unwrap();
        stranger.send_to(&good, to).unwrap();
        assert_eq!(decoder.decode(b"no message").await.unwrap(), None);
        stranger.send_to(b"stranger", encoder.our_address).unwrap();
        let bytes = encoder.encode(bad_cluster(ProtocolVersion::V0)).await.unwrap();
        assert_eq!(bytes, good);
    }
}
