//! A connection to one node, whose calls say who calls whom.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{Channel, Endpoint};

use super::proof::{Claim, Prover};
use super::tls::PeerTls;
use super::{
    CLUSTER_HEADER, FROM_HEADER, PROOF_HEADER, PeersConfig, PeersError, TO_HEADER, WallClock,
};
use crate::name::NodeName;

/// Bytes that a peer may send of one answer before they are read.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes that a peer may send of all answers before they are read.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Calls that wait for a connection, at most.
const WAITING_CALLS: usize = 1_024;
/// After so long without a sign of life a peer is asked for one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a peer may take to give a sign of life.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a node: its calls carry the proof that this node has the cluster key.
#[derive(Clone)]
pub struct PeerChannel {
    channel: Channel,
    stamp: Stamp,
}

/// What stands in the metadata of every call.
#[derive(Clone)]
pub(super) struct Stamp {
    pub caller: Arc<Identity>,
    pub to: http::HeaderValue,
}

/// Who calls.
pub(super) struct Identity {
    cluster: uuid::Uuid,
    cluster_header: http::HeaderValue,
    from: http::HeaderValue,
    name: NodeName,
    prover: Option<Prover>,
    clock: WallClock,
}

impl Identity {
    pub fn new(config: &PeersConfig) -> Result<Self, PeersError> {
        let cluster = config.cluster.to_string();
        Ok(Self {
            cluster: config.cluster,
            cluster_header: header(&cluster)?,
            from: header(config.name.as_str())?,
            name: config.name.clone(),
            prover: config.keys.as_ref().map(|keys| Prover::new(&keys.current)).transpose()?,
            clock: Arc::clone(&config.clock),
        })
    }
}

/// A name is ASCII, and so is an id: this does not fail.
pub(super) fn header(text: &str) -> Result<http::HeaderValue, PeersError> {
    http::HeaderValue::from_str(text).map_err(|_| PeersError::Library)
}

impl PeerChannel {
    pub(super) fn new(channel: Channel, stamp: Stamp) -> Self {
        Self { channel, stamp }
    }
}

impl fmt::Debug for PeerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerChannel").field("to", &self.stamp.to).finish_non_exhaustive()
    }
}

impl Stamp {
    fn apply(&self, request: &mut http::Request<Body>) {
        let Identity { cluster, cluster_header, from, name, prover, clock } = &*self.caller;
        let proof = prover.as_ref().and_then(|prover| {
            let to = self.to.to_str().ok()?;
            let method = request.uri().path();
            let claim = Claim { cluster: *cluster, from: name.as_str(), to, method };
            header(&prover.prove(&claim, clock())).ok()
        });
        let headers = request.headers_mut();
        headers.insert(CLUSTER_HEADER, cluster_header.clone());
        headers.insert(FROM_HEADER, from.clone());
        headers.insert(TO_HEADER, self.to.clone());
        if let Some(proof) = proof {
            headers.insert(PROOF_HEADER, proof);
        }
    }
}

impl Service<http::Request<Body>> for PeerChannel {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> ResponseFuture {
        self.stamp.apply(&mut request);
        self.channel.call(request)
    }
}

/// A connection that is made when it is first used, and again whenever it is lost.
pub(super) fn connect(
    address: &str,
    tls: Option<&PeerTls>,
    connect_timeout: Duration,
) -> Result<Channel, PeersError> {
    let bad = |reason: String| PeersError::Address {
        address: address.escape_debug().take(80).collect(),
        reason,
    };
    let authority: http::uri::Authority =
        address.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
    if authority.port().is_none() || address.contains('@') {
        return Err(bad("`host:port` is wanted".to_owned()));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"));
    let mut endpoint = endpoint
        .map_err(|error| bad(error.to_string()))?
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .buffer_size(WAITING_CALLS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.client()).map_err(PeersError::tls)?;
    }
    Ok(endpoint.connect_lazy())
}
