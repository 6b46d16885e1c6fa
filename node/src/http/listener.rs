//! Accepts connections: bounded in number, in the time to send a request's head, and at shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long to wait after the system refused to accept, which it does without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Bounds of the listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Connections at once.
    pub connections: usize,
    /// Time for the head of a request.
    pub head_timeout: Duration,
    /// Time for running requests at shutdown.
    pub shutdown_timeout: Duration,
}

/// Serves until `stop` is cancelled, then until running requests are answered, `hurry` is
/// cancelled, or the time for that has passed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    stop: &CancellationToken,
    hurry: &CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(limits.head_timeout);
    while let Some((stream, slot)) = accept(&listener, &slots, stop).await {
        let peer = stream.peer_addr().ok().map(Peer);
        let service = router.clone().map_request(move |mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = hurry.cancelled() => {}
        () = tokio::time::sleep(limits.shutdown_timeout) => {
            tracing::warn!("requests were still running when the time for the shutdown had passed");
        }
    }
}

/// The next connection; `None` once the server stops.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = tokio::select! {
        slot = Arc::clone(slots).acquire_owned() => slot.ok()?,
        () = stop.cancelled() => return None,
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return None,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are written at once; waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                return Some((stream, slot));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
