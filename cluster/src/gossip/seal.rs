//! Sealing gossip packets with the cluster key.
//!
//! chitchat has no authentication: whoever can send it a datagram is believed. Every packet is sealed
//! here by AES-256-GCM under a key that HKDF (RFC 5869) derives from the cluster key and a random
//! number of the sending process, so that a counter is a nonce that is never used twice. What was
//! received before, or was sent long ago, is refused. A packet:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version of this format |
//! | 4 | which cluster key |
//! | 8 | which cluster |
//! | 16 | the sender's random number |
//! | 8 | counter, big endian |
//! | 8 | milliseconds since 1970, big endian |
//! | 1 | whether it is a whole message, or which half of one |
//! | … | the sealed message, and a tag of 16 bytes |
//!
//! All that is before the message is authenticated, too. A message that does not fit into a datagram
//! with all this goes in two.
//!
//! A process that has just started remembers nothing that came before: for two minutes it takes what
//! was recorded until then. That does no harm: heartbeats and versions of values only ever grow.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, rand};
use thiserror::Error;
use uuid::Uuid;

const VERSION: u8 = 1;
const HEADER: usize = 46;
const TAG: usize = 16;
/// The largest payload of a UDP datagram over IPv4.
const DATAGRAM: usize = 65_507;
/// Bytes of a message that fit into one packet.
const ROOM: usize = DATAGRAM - HEADER - TAG;
/// Bytes of a cluster key, at least: as many as the key that is derived from it.
pub const MIN_KEY_BYTES: usize = 32;
/// How far a sender's clock may be off, and how long a packet can be under way, in milliseconds.
pub const MAX_SKEW_MS: u64 = 120_000;
/// Senders that are remembered. Only those that have the key are.
const MAX_SESSIONS: usize = 4_096;
/// Packets of one sender that may come in another order than they were sent.
const WINDOW: u64 = 128;

type KeyId = [u8; 4];
type SessionId = [u8; 16];

/// What all nodes of a cluster share. It is not shown by `Debug`.
#[derive(Clone)]
pub struct ClusterKey {
    id: KeyId,
    secret: Vec<u8>,
}

/// A cluster key that is too short.
#[derive(Debug, Error)]
#[error(
    "the cluster key has {0} bytes; it needs at least {MIN_KEY_BYTES}, such as from `openssl rand -base64 32`"
)]
pub struct ShortKey(usize);

impl ClusterKey {
    /// A key of these bytes.
    ///
    /// # Errors
    /// When they are fewer than [`MIN_KEY_BYTES`].
    pub fn new(secret: &[u8]) -> Result<Self, ShortKey> {
        if secret.len() < MIN_KEY_BYTES {
            return Err(ShortKey(secret.len()));
        }
        Ok(Self::of(secret))
    }

    fn of(secret: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, &[b"aeterna key id", secret].concat());
        let mut id = KeyId::default();
        id.copy_from_slice(&hash.as_ref()[..4]);
        Self { id, secret: secret.to_vec() }
    }

    fn of_session(&self, session: &SessionId) -> Result<LessSafeKey, SealError> {
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, session).extract(&self.secret);
        let derived = pseudo_random.expand(&[b"aeterna gossip 1"], &AES_256_GCM);
        Ok(LessSafeKey::new(UnboundKey::from(derived.map_err(|_| SealError::Library)?)))
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterKey").finish_non_exhaustive()
    }
}

impl ClusterKey {
    /// Tells keys apart, and says nothing of what they are.
    pub(crate) fn id(&self) -> [u8; 4] {
        self.id
    }

    /// A key for another purpose than gossip.
    pub(crate) fn derive(&self, purpose: &[u8]) -> Result<[u8; 32], SealError> {
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.secret);
        let mut key = [0; 32];
        let purpose = [purpose];
        let derived = pseudo_random.expand(&purpose, hkdf::HKDF_SHA256);
        let filled = derived.and_then(|derived| derived.fill(&mut key));
        filled.map(|()| key).map_err(|_| SealError::Library)
    }
}

/// The keys of a cluster: two at a time while they are replaced.
///
/// To replace a key, with restarts or with [`replace_keys`](super::Membership::replace_keys): give
/// every node the new one as `other`; then, when all have it, the new one as `current` and the former
/// as `other`; then, when all have that, the new one alone. Every node understands every other
/// throughout.
#[derive(Clone, Debug)]
pub struct ClusterKeys {
    /// What is sent is sealed with this one.
    pub current: ClusterKey,
    /// What comes may be sealed with this one, too: the former one, or the next.
    pub other: Option<ClusterKey>,
}

impl ClusterKeys {
    /// What stands for keys where there are none: whoever knows the cluster's id knows it, so that
    /// packets of other clusters are told apart, and nothing is proven.
    pub(super) fn without_secret(cluster: Uuid) -> Self {
        let no_secret = [b"aeterna, no cluster key".as_slice(), cluster.as_bytes()].concat();
        Self { current: ClusterKey::of(&no_secret), other: None }
    }
}

/// A message that cannot be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// More than two packets' worth.
    #[error("a gossip message of {0} bytes is larger than two datagrams")]
    TooLarge(usize),
    /// The library of cryptography refuses.
    #[error("the cryptographic library failed")]
    Library,
    /// The counter has run out.
    #[error("this process has sent too many packets; restart it")]
    Exhausted,
}

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum Rejection {
    /// No packet of ours.
    #[error("it is no gossip packet")]
    Malformed,
    /// Of a version of the format that this program does not know.
    #[error("its format is of another version")]
    Version,
    /// Sealed with a key that this node does not have.
    #[error("it is sealed with another cluster key")]
    Key,
    /// Of another cluster.
    #[error("it is of another cluster")]
    Cluster,
    /// Changed, or made without the key.
    #[error("it is forged or was changed on its way")]
    Forged,
    /// It came before.
    #[error("it came before")]
    Replayed,
    /// Sent long ago, or by a clock that is off.
    #[error("its clock is more than two minutes off")]
    Clock,
}

impl Rejection {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Version,
        Self::Key,
        Self::Cluster,
        Self::Forged,
        Self::Replayed,
        Self::Clock,
    ];
}

/// Seals what one process sends.
pub struct Sealer {
    key: LessSafeKey,
    key_id: KeyId,
    cluster: [u8; 8],
    session: SessionId,
    counter: u64,
}

impl Sealer {
    /// With a random number of its own.
    ///
    /// # Errors
    /// [`SealError::Library`].
    pub fn new(key: &ClusterKey, cluster: Uuid) -> Result<Self, SealError> {
        let mut session = SessionId::default();
        rand::fill(&mut session).map_err(|_| SealError::Library)?;
        let of_session = key.of_session(&session)?;
        let cluster = cluster_tag(cluster);
        Ok(Self { key: of_session, key_id: key.id, cluster, session, counter: 0 })
    }

    /// The packets of a message: one, or two for a large one.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(&mut self, message: &[u8], now_ms: u64) -> Result<Vec<Vec<u8>>, SealError> {
        match message.len() {
            0..=ROOM => Ok(vec![self.packet(message, Part::Whole, now_ms)?]),
            length if length <= 2 * ROOM => {
                let (first, last) = message.split_at(length / 2);
                let first = self.packet(first, Part::First, now_ms)?;
                Ok(vec![first, self.packet(last, Part::Last, now_ms)?])
            }
            length => Err(SealError::TooLarge(length)),
        }
    }

    fn packet(&mut self, text: &[u8], part: Part, now_ms: u64) -> Result<Vec<u8>, SealError> {
        self.counter = self.counter.checked_add(1).ok_or(SealError::Exhausted)?;
        let mut packet = Vec::with_capacity(HEADER + text.len() + TAG);
        packet.push(VERSION);
        packet.extend_from_slice(&self.key_id);
        packet.extend_from_slice(&self.cluster);
        packet.extend_from_slice(&self.session);
        packet.extend_from_slice(&self.counter.to_be_bytes());
        packet.extend_from_slice(&now_ms.to_be_bytes());
        packet.push(part as u8);
        let mut sealed = text.to_vec();
        let header = Aad::from(packet.as_slice());
        self.key
            .seal_in_place_append_tag(nonce(self.counter), header, &mut sealed)
            .map_err(|_| SealError::Library)?;
        packet.extend_from_slice(&sealed);
        Ok(packet)
    }
}

/// Opens what others send.
pub struct Opener {
    keys: Vec<ClusterKey>,
    cluster: [u8; 8],
    sessions: HashMap<(KeyId, SessionId), Session>,
    /// Oldest first.
    known: VecDeque<(KeyId, SessionId)>,
}

/// What is remembered of a sending process.
struct Session {
    key: LessSafeKey,
    highest: u64,
    /// Bit `n`: whether `highest - n` has come.
    window: u128,
    /// The first half of a message, and its counter.
    half: Option<(u64, Vec<u8>)>,
}

impl Opener {
    /// For packets of one cluster.
    pub fn new(keys: &ClusterKeys, cluster: Uuid) -> Self {
        let keys = [keys.current.clone()].into_iter().chain(keys.other.clone()).collect();
        let cluster = cluster_tag(cluster);
        Self { keys, cluster, sessions: HashMap::new(), known: VecDeque::new() }
    }

    /// From now on, packets under these keys. What came under a key that stays is remembered.
    pub fn replace_keys(&mut self, keys: &ClusterKeys) {
        self.keys = [keys.current.clone()].into_iter().chain(keys.other.clone()).collect();
        let stays = |key: &KeyId| self.keys.iter().any(|known| known.id == *key);
        self.sessions.retain(|(key, _), _| stays(key));
        self.known.retain(|(key, _)| stays(key));
    }

    /// The message of a packet; `None` for the first half of one.
    ///
    /// # Errors
    /// Why it is not taken. Nothing has changed then.
    pub fn open(&mut self, packet: &[u8], now_ms: u64) -> Result<Option<Vec<u8>>, Rejection> {
        let Some((header, sealed)) = packet.split_first_chunk::<HEADER>() else {
            return Err(Rejection::Malformed);
        };
        let header = Header::read(header);
        if header.version != VERSION {
            return Err(Rejection::Version);
        }
        let part = Part::of(header.part).ok_or(Rejection::Malformed)?;
        if header.cluster != self.cluster {
            return Err(Rejection::Cluster);
        }
        let key = self.keys.iter().find(|key| key.id == header.key).ok_or(Rejection::Key)?;
        let place = (header.key, header.session);
        let fresh = match self.sessions.get(&place) {
            Some(_) => None,
            None => Some(key.of_session(&header.session).map_err(|_| Rejection::Forged)?),
        };
        let session_key = match (&fresh, self.sessions.get(&place)) {
            (Some(key), _) => key,
            (None, Some(session)) => &session.key,
            (None, None) => return Err(Rejection::Forged),
        };
        let mut text = sealed.to_vec();
        let aad = Aad::from(&packet[..HEADER]);
        let opened = session_key.open_in_place(nonce(header.counter), aad, &mut text);
        let length = opened.map_err(|_| Rejection::Forged)?.len();
        text.truncate(length);
        // Only now it is known who says so.
        if header.sent_ms.abs_diff(now_ms) > MAX_SKEW_MS {
            return Err(Rejection::Clock);
        }
        if let Some(key) = fresh {
            self.remember(place, key);
        }
        let session = self.sessions.get_mut(&place).ok_or(Rejection::Forged)?;
        session.come(header.counter)?;
        Ok(session.put_together(header.counter, part, text))
    }

    fn remember(&mut self, place: (KeyId, SessionId), key: LessSafeKey) {
        if self.known.len() == MAX_SESSIONS
            && let Some(oldest) = self.known.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        self.known.push_back(place);
        self.sessions.insert(place, Session { key, highest: 0, window: 0, half: None });
    }
}

impl Session {
    /// Whether a packet is new.
    fn come(&mut self, counter: u64) -> Result<(), Rejection> {
        if counter > self.highest {
            let ahead = counter - self.highest;
            self.window = if ahead < WINDOW { self.window << ahead } else { 0 };
            self.window |= 1;
            self.highest = counter;
            return Ok(());
        }
        let behind = self.highest - counter;
        if behind >= WINDOW || self.window >> behind & 1 == 1 {
            return Err(Rejection::Replayed);
        }
        self.window |= 1 << behind;
        Ok(())
    }

    fn put_together(&mut self, counter: u64, part: Part, text: Vec<u8>) -> Option<Vec<u8>> {
        match part {
            Part::Whole => Some(text),
            Part::First => {
                self.half = Some((counter, text));
                None
            }
            // Halves that are lost, or come the other way round, are lost messages: gossip goes on.
            Part::Last => {
                let (_, mut first) = self.half.take_if(|(first, _)| *first + 1 == counter)?;
                first.extend_from_slice(&text);
                Some(first)
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    Whole = 0,
    First = 1,
    Last = 2,
}

impl Part {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Whole),
            1 => Some(Self::First),
            2 => Some(Self::Last),
            _ => None,
        }
    }
}

struct Header {
    version: u8,
    key: KeyId,
    cluster: [u8; 8],
    session: SessionId,
    counter: u64,
    sent_ms: u64,
    part: u8,
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Self {
        fn array<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
            std::array::from_fn(|place| bytes[at + place])
        }
        Self {
            version: bytes[0],
            key: array(bytes, 1),
            cluster: array(bytes, 5),
            session: array(bytes, 13),
            counter: u64::from_be_bytes(array(bytes, 29)),
            sent_ms: u64::from_be_bytes(array(bytes, 37)),
            part: bytes[45],
        }
    }
}

fn cluster_tag(cluster: Uuid) -> [u8; 8] {
    let hash = digest::digest(&digest::SHA256, cluster.as_bytes());
    std::array::from_fn(|place| hash.as_ref()[place])
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::new(&[byte; 32]).unwrap()
    }

    fn keys(current: u8, other: Option<u8>) -> ClusterKeys {
        ClusterKeys { current: key(current), other: other.map(key) }
    }

    fn cluster() -> Uuid {
        Uuid::from_u128(1)
    }

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(&key(1), cluster()).unwrap(), Opener::new(&keys(1, None), cluster()))
    }

    fn one(sealer: &mut Sealer, message: &[u8]) -> Vec<u8> {
        let mut packets = sealer.seal(message, NOW).unwrap();
        assert_eq!(packets.len(), 1);
        packets.remove(0)
    }

    #[test]
    fn messages_of_any_size_come_through() {
        let (mut sealer, mut opener) = pair();
        for length in [0, 1, ROOM, ROOM + 1, DATAGRAM, 2 * ROOM] {
            let message: Vec<u8> = (0..length).map(|place| place as u8).collect();
            let packets = sealer.seal(&message, NOW).unwrap();
            assert!(packets.iter().all(|packet| packet.len() <= DATAGRAM));
            let opened = packets.iter().map(|packet| opener.open(packet, NOW).unwrap());
            assert_eq!(opened.last().unwrap(), Some(message), "{length}");
        }
        assert!(sealer.seal(&vec![0; 2 * ROOM + 1], NOW).is_err());
    }

    #[test]
    fn nothing_can_be_changed() {
        let (mut sealer, mut opener) = pair();
        let packet = one(&mut sealer, b"node-1 is alive");
        assert!(!packet.windows(4).any(|part| part == b"node"));
        for place in 0..packet.len() {
            let mut changed = packet.clone();
            changed[place] ^= 1;
            assert!(opener.open(&changed, NOW).is_err(), "{place}");
        }
        for length in 0..packet.len() {
            assert!(opener.open(&packet[..length], NOW).is_err(), "{length}");
        }
        assert_eq!(opener.open(&packet, NOW), Ok(Some(b"node-1 is alive".to_vec())));
    }

    #[test]
    fn strangers_are_told_apart() {
        let (mut sealer, _) = pair();
        let packet = one(&mut sealer, b"x");
        let open = |mut opener: Opener| opener.open(&packet, NOW);
        assert_eq!(open(Opener::new(&keys(2, None), cluster())), Err(Rejection::Key));
        let elsewhere = Uuid::from_u128(2);
        assert_eq!(open(Opener::new(&keys(1, None), elsewhere)), Err(Rejection::Cluster));
        let mut opener = Opener::new(&keys(1, None), cluster());
        assert_eq!(opener.open(b"GET / HTTP/1.1\r\n", NOW), Err(Rejection::Malformed));
        let mut of_tomorrow = packet.clone();
        of_tomorrow[0] = 2;
        assert_eq!(opener.open(&of_tomorrow, NOW), Err(Rejection::Version));
        for now in [NOW - MAX_SKEW_MS - 1, NOW + MAX_SKEW_MS + 1] {
            assert_eq!(opener.open(&packet, now), Err(Rejection::Clock));
        }
    }

    #[test]
    fn what_came_before_does_not_come_again() {
        let (mut sealer, mut opener) = pair();
        let packets: Vec<Vec<u8>> =
            (0..300u32).map(|n| one(&mut sealer, &n.to_be_bytes())).collect();
        // In another order, as networks do, each comes through once.
        for pair in packets[..200].chunks(2) {
            assert!(opener.open(&pair[1], NOW).unwrap().is_some());
            assert!(opener.open(&pair[0], NOW).unwrap().is_some());
        }
        for packet in &packets[..200] {
            assert_eq!(opener.open(packet, NOW), Err(Rejection::Replayed));
        }
        // What is far behind may have come: it is not taken.
        assert!(opener.open(&packets[299], NOW).unwrap().is_some());
        assert_eq!(opener.open(&packets[202 - 31], NOW), Err(Rejection::Replayed));
        assert!(opener.open(&packets[298], NOW).unwrap().is_some());
    }

    #[test]
    fn a_half_alone_is_no_message() {
        let (mut sealer, mut opener) = pair();
        let large = vec![7; ROOM + 1];
        let [first, _]: [Vec<u8>; 2] = sealer.seal(&large, NOW).unwrap().try_into().unwrap();
        let [_, other_last]: [Vec<u8>; 2] = sealer.seal(&large, NOW).unwrap().try_into().unwrap();
        assert_eq!(opener.open(&first, NOW), Ok(None));
        assert_eq!(opener.open(&other_last, NOW), Ok(None));
        let packet = one(&mut sealer, b"small");
        assert_eq!(opener.open(&packet, NOW), Ok(Some(b"small".to_vec())));
    }

    #[test]
    fn keys_are_replaced_one_node_after_another() {
        let mut old = Sealer::new(&key(1), cluster()).unwrap();
        let mut new = Sealer::new(&key(2), cluster()).unwrap();
        let mut before = Opener::new(&keys(1, Some(2)), cluster());
        let mut after = Opener::new(&keys(2, Some(1)), cluster());
        for opener in [&mut before, &mut after] {
            assert!(opener.open(&one(&mut old, b"x"), NOW).is_ok());
            assert!(opener.open(&one(&mut new, b"x"), NOW).is_ok());
        }
    }

    #[test]
    fn senders_are_bounded() {
        let mut opener = Opener::new(&keys(1, None), cluster());
        for _ in 0..MAX_SESSIONS + 10 {
            let mut sealer = Sealer::new(&key(1), cluster()).unwrap();
            opener.open(&one(&mut sealer, b"x"), NOW).unwrap();
        }
        assert_eq!((opener.sessions.len(), opener.known.len()), (MAX_SESSIONS, MAX_SESSIONS));
    }

    #[test]
    fn keys_are_not_shown() {
        assert!(ClusterKey::new(&[1; 31]).is_err());
        let shown = format!("{:?}", keys(65, Some(66)));
        assert!(!shown.contains("65") && !shown.contains('A'), "{shown}");
    }
}
