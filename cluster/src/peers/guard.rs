//! Who is let in: calls of nodes of this cluster that have its key and mean this node.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use uuid::Uuid;

use super::proof::{self, Claim, Verifier};
use super::{
    CLUSTER_HEADER, FROM_HEADER, PROOF_HEADER, PeersConfig, PeersError, TO_HEADER, WallClock,
};
use crate::name::NodeName;

/// Refused calls are logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum Refusal {
    /// It does not say who calls whom in which cluster, or proves nothing.
    #[error("it is no call of a node")]
    NoProof,
    /// Its metadata is nothing that a node sends.
    #[error("its proof cannot be read")]
    Malformed,
    /// Its proof is made with a key that this node does not have.
    #[error("it is proven with another cluster key")]
    Key,
    /// Its proof was changed, is that of another call, or was made without the key.
    #[error("its proof is forged")]
    Forged,
    /// It came before.
    #[error("it came before")]
    Replayed,
    /// Made long ago, or by a clock that is off.
    #[error("its clock is more than two minutes off")]
    Clock,
    /// It is meant for another cluster.
    #[error("it is meant for another cluster")]
    Cluster,
    /// It is meant for another node: its address has changed hands.
    #[error("it is meant for another node")]
    Target,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::NoProof,
        Self::Malformed,
        Self::Key,
        Self::Forged,
        Self::Replayed,
        Self::Clock,
        Self::Cluster,
        Self::Target,
    ];

    fn status(self) -> Status {
        match self {
            Self::NoProof
            | Self::Malformed
            | Self::Key
            | Self::Forged
            | Self::Replayed
            | Self::Clock => Status::unauthenticated(format!("the call is refused: {self}")),
            Self::Cluster | Self::Target => {
                Status::failed_precondition(format!("the call is refused: {self}"))
            }
        }
    }
}

/// The node that a call that was let in comes from; among the call's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub NodeName);

/// Lets calls in, or refuses and counts them.
pub struct Guard {
    cluster: Uuid,
    name: NodeName,
    verifier: Option<Verifier>,
    clock: WallClock,
    refused: [AtomicU64; Refusal::ALL.len()],
    logged: Mutex<Logged>,
}

#[derive(Default)]
struct Logged {
    at: Option<Instant>,
    refused: u64,
}

impl Guard {
    /// Of a node.
    ///
    /// # Errors
    /// [`PeersError::Library`].
    pub fn new(config: &PeersConfig) -> Result<Arc<Self>, PeersError> {
        Ok(Arc::new(Self {
            cluster: config.cluster,
            name: config.name.clone(),
            verifier: config.keys.as_ref().map(Verifier::new).transpose()?,
            clock: Arc::clone(&config.clock),
            refused: Default::default(),
            logged: Mutex::default(),
        }))
    }

    /// A gRPC service that gets only the calls that are let in.
    pub fn wrap<S>(self: &Arc<Self>, service: S) -> Guarded<S> {
        Guarded { guard: Arc::clone(self), service }
    }

    /// How many calls were refused for a reason since the start.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.counter(reason).load(Ordering::Relaxed)
    }

    /// Whether a call is let in. One that is not is counted.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, method: &str, headers: &http::HeaderMap) -> Result<Caller, Refusal> {
        let caller = self.caller(method, headers);
        if let Err(refusal) = caller {
            self.counter(refusal).fetch_add(1, Ordering::Relaxed);
            self.log(refusal, method);
        }
        caller
    }

    fn caller(&self, method: &str, headers: &http::HeaderMap) -> Result<Caller, Refusal> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str());
        let required = |name: &str| header(name).ok_or(Refusal::NoProof);
        let text = |name: &str| required(name)?.map_err(|_| Refusal::Malformed);
        let (from, to) = (text(FROM_HEADER)?, text(TO_HEADER)?);
        let cluster = text(CLUSTER_HEADER)?.parse().map_err(|_| Refusal::Malformed)?;
        let caller = from.parse().map(Caller).map_err(|_| Refusal::Malformed)?;
        if !proof::is_name(to) {
            return Err(Refusal::Malformed);
        }
        if let Some(verifier) = &self.verifier {
            let claim = Claim { cluster, from, to, method };
            verifier.verify(text(PROOF_HEADER)?, &claim, (self.clock)())?;
        }
        if cluster != self.cluster {
            return Err(Refusal::Cluster);
        }
        if to != self.name.as_str() {
            return Err(Refusal::Target);
        }
        Ok(caller)
    }

    fn counter(&self, reason: Refusal) -> &AtomicU64 {
        &self.refused[reason as usize]
    }

    fn log(&self, reason: Refusal, method: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.refused += 1;
        if logged.at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        let method: String = method.escape_debug().take(80).collect();
        let calls = std::mem::take(&mut logged.refused);
        tracing::warn!(calls, last = %reason, method, "refused calls of other nodes since last said");
        logged.at = Some(Instant::now());
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A gRPC service behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Arc<Guard>,
    service: S,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        match self.guard.check(request.uri().path(), request.headers()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Box::pin(self.service.call(request))
            }
            Err(refusal) => {
                let response = refusal.status().into_http();
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
