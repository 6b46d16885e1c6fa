//! The network between nodes: turmoil's, which loses, delays, reorders and cuts off.
//!
//! Each node has one host in turmoil, which only sends and receives packets for it. The node itself
//! runs on a runtime of its own ([`crate::machine`]), so that it can be paused, and its clock be wrong,
//! while its packets are under way.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use turmoil::net::UdpSocket;

const PORT: u16 = 8081;
/// Bytes of a packet, at most.
const MAX_PACKET: usize = 1 << 20;

/// What one node sends another.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Whom to.
    pub to: usize,
    /// What.
    pub bytes: Bytes,
}

/// A node's connection to the network. It outlives the node's crashes.
pub struct Wire {
    outgoing: UnboundedSender<Packet>,
    /// `None` while nobody listens.
    incoming: Mutex<Option<UnboundedSender<Bytes>>>,
}

impl Wire {
    /// Sends a packet, which may get lost.
    pub fn send(&self, packet: Packet) {
        // The network ends with the simulation.
        let _ = self.outgoing.send(packet);
    }

    /// Listens from now on, in place of whoever did before.
    pub fn listen(&self) -> UnboundedReceiver<Bytes> {
        let (sender, receiver) = unbounded_channel();
        *self.incoming.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Nobody listens any more.
    pub fn unplug(&self) {
        *self.incoming.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn deliver(&self, bytes: Bytes) {
        if let Some(incoming) = &*self.incoming.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = incoming.send(bytes);
        }
    }
}

/// What a node is called in turmoil.
pub fn host_name(number: usize) -> String {
    format!("node-{number}")
}

/// Connects so many nodes.
pub fn connect(simulation: &mut turmoil::Sim<'_>, nodes: usize) -> Vec<Arc<Wire>> {
    let mut wires = Vec::new();
    for number in 0..nodes {
        let (outgoing, packets) = unbounded_channel();
        let wire = Arc::new(Wire { outgoing, incoming: Mutex::default() });
        wires.push(Arc::clone(&wire));
        let packets = Mutex::new(Some(packets));
        simulation.host(host_name(number), move || {
            let packets = packets.lock().unwrap_or_else(PoisonError::into_inner).take();
            carry(nodes, packets, Arc::clone(&wire))
        });
    }
    wires
}

async fn carry(
    nodes: usize,
    packets: Option<UnboundedReceiver<Packet>>,
    wire: Arc<Wire>,
) -> turmoil::Result {
    let mut packets = packets.ok_or("the network is never restarted")?;
    let socket = UdpSocket::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    let addresses: Vec<IpAddr> =
        (0..nodes).map(|number| turmoil::lookup(host_name(number))).collect();
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        tokio::select! {
            biased;
            packet = packets.recv() => {
                let Some(Packet { to, bytes }) = packet else { return Ok(()) };
                if let Some(address) = addresses.get(to) {
                    socket.send_to(&bytes, (*address, PORT)).await?;
                }
            }
            received = socket.recv_from(&mut buffer) => {
                let (length, _) = received?;
                wire.deliver(Bytes::copy_from_slice(&buffer[..length]));
            }
        }
    }
}
