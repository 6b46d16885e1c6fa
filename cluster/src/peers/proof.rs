//! Proof that a call comes from a node that has the cluster key, and is meant for who gets it.
//!
//! A caller signs, by HMAC-SHA256 under a key derived from the cluster key, which cluster and which
//! node it calls, which method, who it is, and when; with a random number of its process and a
//! counter, so that each proof is taken once. As text, in the metadata of a call:
//!
//! ```text
//! 1-<key, 8 hex>-<process, 32 hex>-<counter>-<milliseconds since 1970>-<HMAC, 64 hex>
//! ```
//!
//! The body is not signed: where others can change what is under way, TLS is what protects it. A
//! receiver that was restarted within the last two minutes has forgotten what it took before.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{hmac, rand};
use uuid::Uuid;

use super::PeersError;
use super::guard::Refusal;
use crate::gossip::seal::{ClusterKey, ClusterKeys, MAX_SKEW_MS};
use crate::name::NodeName;

const VERSION: &str = "1";
const PURPOSE: &[u8] = b"aeterna peer 1";
/// Bytes of a proof, at most.
const MAX_PROOF_BYTES: usize = 192;
/// Calling processes that are remembered. Only those that have the key are.
const MAX_SESSIONS: usize = 4_096;
/// Words of 64 calls: so many calls of one process may come in another order than they were made.
const WINDOW_WORDS: usize = 64;
const WINDOW: u64 = 64 * WINDOW_WORDS as u64;

type KeyId = [u8; 4];
type SessionId = [u8; 16];

/// What a call claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub cluster: Uuid,
    pub from: &'a str,
    pub to: &'a str,
    /// Path of the method, `/package.Service/Method`.
    pub method: &'a str,
}

impl Claim<'_> {
    /// What is signed. Every part says how long it is, so that no two claims give the same bytes.
    fn text(&self, session: &SessionId, counter: u64, sent_ms: u64) -> Vec<u8> {
        let (counter, sent_ms) = (counter.to_be_bytes(), sent_ms.to_be_bytes());
        let parts: [&[u8]; 8] = [
            PURPOSE,
            self.cluster.as_bytes(),
            self.from.as_bytes(),
            self.to.as_bytes(),
            self.method.as_bytes(),
            session,
            &counter,
            &sent_ms,
        ];
        let mut text = Vec::with_capacity(256);
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        text
    }
}

/// Proves that this process has the cluster key.
pub(super) struct Prover {
    key_id: KeyId,
    key: hmac::Key,
    session: SessionId,
    counter: AtomicU64,
}

impl Prover {
    pub fn new(key: &ClusterKey) -> Result<Self, PeersError> {
        let mut session = SessionId::default();
        rand::fill(&mut session).map_err(|_| PeersError::Library)?;
        Ok(Self { key_id: key.id(), key: derived(key)?, session, counter: AtomicU64::new(0) })
    }

    pub fn prove(&self, claim: &Claim, now_ms: u64) -> String {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let tag = hmac::sign(&self.key, &claim.text(&self.session, counter, now_ms));
        let (key, session, tag) = (hex(&self.key_id), hex(&self.session), hex(tag.as_ref()));
        format!("{VERSION}-{key}-{session}-{counter}-{now_ms}-{tag}")
    }
}

/// Checks what others prove.
pub(super) struct Verifier {
    keys: Vec<(KeyId, hmac::Key)>,
    sessions: Mutex<Sessions>,
}

impl Verifier {
    pub fn new(keys: &ClusterKeys) -> Result<Self, PeersError> {
        let keys = [&keys.current].into_iter().chain(&keys.other);
        let keys = keys.map(|key| Ok((key.id(), derived(key)?))).collect::<Result<_, _>>()?;
        Ok(Self { keys, sessions: Mutex::default() })
    }

    /// Whether a claim is proven, was made now, and is not known yet.
    pub fn verify(&self, proof: &str, claim: &Claim, now_ms: u64) -> Result<(), Refusal> {
        let proof = Proof::read(proof).ok_or(Refusal::Malformed)?;
        let key = self.keys.iter().find(|(id, _)| *id == proof.key).ok_or(Refusal::Key)?;
        let text = claim.text(&proof.session, proof.counter, proof.sent_ms);
        hmac::verify(&key.1, &text, &proof.tag).map_err(|_| Refusal::Forged)?;
        if proof.sent_ms.abs_diff(now_ms) > MAX_SKEW_MS {
            return Err(Refusal::Clock);
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.of((proof.key, proof.session)).come(proof.counter) {
            true => Ok(()),
            false => Err(Refusal::Replayed),
        }
    }
}

fn derived(key: &ClusterKey) -> Result<hmac::Key, PeersError> {
    let bytes = key.derive(PURPOSE).map_err(|_| PeersError::Library)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// What is remembered of calling processes.
#[derive(Default)]
struct Sessions {
    windows: HashMap<(KeyId, SessionId), Window>,
    /// Oldest first.
    known: VecDeque<(KeyId, SessionId)>,
}

impl Sessions {
    fn of(&mut self, session: (KeyId, SessionId)) -> &mut Window {
        if !self.windows.contains_key(&session) {
            if self.known.len() == MAX_SESSIONS
                && let Some(oldest) = self.known.pop_front()
            {
                self.windows.remove(&oldest);
            }
            self.known.push_back(session);
        }
        self.windows.entry(session).or_default()
    }
}

/// Which of a process's last calls have come.
struct Window {
    highest: u64,
    /// A ring: bit `counter % WINDOW` for each of the last [`WINDOW`] counters.
    come: Box<[u64; WINDOW_WORDS]>,
}

impl Default for Window {
    fn default() -> Self {
        Self { highest: 0, come: Box::new([0; WINDOW_WORDS]) }
    }
}

impl Window {
    /// Takes a call in, if it is new.
    fn come(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            let skipped = (self.highest + 1)..counter;
            match counter - self.highest >= WINDOW {
                true => *self.come = [0; WINDOW_WORDS],
                false => skipped.for_each(|skipped| self.set(skipped, false)),
            }
            self.highest = counter;
            self.set(counter, true);
            return true;
        }
        let is_new = self.highest - counter < WINDOW && !self.get(counter);
        if is_new {
            self.set(counter, true);
        }
        is_new
    }

    fn place(counter: u64) -> (usize, u64) {
        let bit = counter % WINDOW;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn get(&self, counter: u64) -> bool {
        let (word, bit) = Self::place(counter);
        self.come[word] & bit != 0
    }

    fn set(&mut self, counter: u64, has_come: bool) {
        let (word, bit) = Self::place(counter);
        match has_come {
            true => self.come[word] |= bit,
            false => self.come[word] &= !bit,
        }
    }
}

struct Proof {
    key: KeyId,
    session: SessionId,
    counter: u64,
    sent_ms: u64,
    tag: [u8; 32],
}

impl Proof {
    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_PROOF_BYTES {
            return None;
        }
        let mut parts = text.split('-');
        let mut next = || parts.next();
        if next()? != VERSION {
            return None;
        }
        let (key, session) = (unhex(next()?)?, unhex(next()?)?);
        let (counter, sent_ms) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let tag = unhex(next()?)?;
        next().is_none().then_some(Self { key, session, counter, sent_ms, tag })
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// A name that may stand in metadata.
pub(super) fn is_name(text: &str) -> bool {
    text.parse::<NodeName>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn keys(current: u8, other: Option<u8>) -> ClusterKeys {
        let key = |byte| ClusterKey::new(&[byte; 32]).unwrap();
        ClusterKeys { current: key(current), other: other.map(key) }
    }

    fn claim() -> Claim<'static> {
        Claim { cluster: Uuid::from_u128(1), from: "a", to: "b", method: "/x/Y" }
    }

    fn prover(key: u8) -> Prover {
        Prover::new(&keys(key, None).current).unwrap()
    }

    #[test]
    fn nothing_can_be_changed() {
        let verifier = Verifier::new(&keys(1, None)).unwrap();
        let proof = prover(1).prove(&claim(), NOW);
        for place in 0..proof.len() {
            let mut changed = proof.clone().into_bytes();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verifier.verify(&changed, &claim(), NOW).is_err(), "{changed}");
        }
        let others = [
            Claim { cluster: Uuid::from_u128(2), ..claim() },
            Claim { from: "c", ..claim() },
            Claim { to: "c", ..claim() },
            Claim { method: "/x/Z", ..claim() },
            // The same letters, parted elsewhere.
            Claim { from: "ab", to: "", ..claim() },
        ];
        for other in others {
            assert_eq!(verifier.verify(&proof, &other, NOW), Err(Refusal::Forged), "{other:?}");
        }
        assert_eq!(verifier.verify(&proof, &claim(), NOW), Ok(()));
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        let verifier = Verifier::new(&keys(1, None)).unwrap();
        let proof = prover(1).prove(&claim(), NOW);
        let more = format!("{proof}-0");
        let long = "1-".repeat(200);
        let accented = format!("1-{}", "é".repeat(8));
        for bad in ["", "1", "1-1-1-1-1-1", &proof[1..], &proof[..80], &more, &long, &accented] {
            assert_eq!(verifier.verify(bad, &claim(), NOW), Err(Refusal::Malformed), "{bad}");
        }
    }

    #[test]
    fn each_proof_is_taken_once_in_any_order() {
        let verifier = Verifier::new(&keys(1, None)).unwrap();
        let prover = prover(1);
        let mut proofs: Vec<String> =
            (0..2 * WINDOW).map(|_| prover.prove(&claim(), NOW)).collect();
        proofs[..1_000].reverse();
        for proof in &proofs {
            assert_eq!(verifier.verify(proof, &claim(), NOW), Ok(()));
        }
        for proof in &proofs {
            assert_eq!(verifier.verify(proof, &claim(), NOW), Err(Refusal::Replayed));
        }
        // One of another process with the same count is another one.
        let other = super::tests::prover(1).prove(&claim(), NOW);
        assert_eq!(verifier.verify(&other, &claim(), NOW), Ok(()));
    }

    #[test]
    fn a_window_far_ahead_forgets_what_was() {
        let mut window = Window::default();
        assert!(window.come(5) && !window.come(5));
        assert!(window.come(5 + WINDOW) && !window.come(5), "it could have come");
        assert!(window.come(6) && !window.come(6));
        assert!(window.come(u64::MAX) && !window.come(u64::MAX) && window.come(u64::MAX - 1));
    }

    #[test]
    fn clocks_may_be_off_a_little() {
        let verifier = Verifier::new(&keys(1, None)).unwrap();
        let prover = prover(1);
        for (sent, result) in [
            (NOW - MAX_SKEW_MS, Ok(())),
            (NOW + MAX_SKEW_MS, Ok(())),
            (NOW - MAX_SKEW_MS - 1, Err(Refusal::Clock)),
            (NOW + MAX_SKEW_MS + 1, Err(Refusal::Clock)),
        ] {
            assert_eq!(verifier.verify(&prover.prove(&claim(), sent), &claim(), NOW), result);
        }
    }

    #[test]
    fn keys_are_replaced_one_node_after_another() {
        let before = Verifier::new(&keys(1, Some(2))).unwrap();
        let after = Verifier::new(&keys(2, Some(1))).unwrap();
        for verifier in [&before, &after] {
            for key in [1, 2] {
                let proof = prover(key).prove(&claim(), NOW);
                assert_eq!(verifier.verify(&proof, &claim(), NOW), Ok(()));
            }
            let proof = prover(3).prove(&claim(), NOW);
            assert_eq!(verifier.verify(&proof, &claim(), NOW), Err(Refusal::Key));
        }
    }

    #[test]
    fn callers_are_bounded() {
        let verifier = Verifier::new(&keys(1, None)).unwrap();
        for _ in 0..MAX_SESSIONS + 10 {
            let proof = prover(1).prove(&claim(), NOW);
            assert_eq!(verifier.verify(&proof, &claim(), NOW), Ok(()));
        }
        let sessions = verifier.sessions.lock().unwrap();
        assert_eq!((sessions.windows.len(), sessions.known.len()), (MAX_SESSIONS, MAX_SESSIONS));
    }
}
