//! Accepts connections: bounded in number, in the time to send a request's head, and at shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::crowd::Crowded;
use crate::stop::Stop;

/// Connections beyond the limit over which whoever watches the node is answered, and nobody else. They speak
/// HTTP/1 alone, where an answer can end the connection.
const EXTRA_CONNECTIONS: usize = 32;

/// How long to wait after the system refused to accept, which it does without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for answers that are being written when a shutdown hurries, such as that to who has asked for it.
const LAST_WORDS: Duration = Duration::from_millis(250);

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
    /// Time for all of a shutdown.
    pub shutdown_timeout: Duration,
}

/// Serves until no work is left to wait for, then until running requests are answered, or the time for the
/// shutdown has passed. What is served may be exchanged meanwhile.
pub async fn serve(
    listener: TcpListener,
    served: watch::Receiver<Router>,
    limits: ListenerLimits,
    stop: Stop,
) {
    let slots = Slots {
        usual: Arc::new(Semaphore::new(limits.connections)),
        extra: Arc::new(Semaphore::new(EXTRA_CONNECTIONS)),
    };
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(limits.head_timeout);
    // A connection that is to end with its first answer.
    let once = builder.clone().http1_only();
    while let Some((stream, slot)) = accept(&listener, &slots, &stop.drained).await {
        let peer = stream.peer_addr().ok().map(Peer);
        let served = served.clone();
        let is_extra = slot.is_extra;
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            if is_extra {
                request.extensions_mut().insert(Crowded);
            }
            let router = served.borrow().clone();
            router.oneshot(request)
        });
        let builder = if is_extra { &once } else { &builder };
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
    let hurried = async {
        stop.hurry.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = hurried => {}
        () = tokio::time::sleep(stop.left_of(limits.shutdown_timeout).max(LAST_WORDS)) => {
            tracing::warn!("requests were still running when the time for the shutdown had passed");
        }
    }
}

/// How many connections there may be.
struct Slots {
    usual: Arc<Semaphore>,
    extra: Arc<Semaphore>,
}

/// That a connection may be.
struct Slot {
    _permit: OwnedSemaphorePermit,
    is_extra: bool,
}

impl Slots {
    /// One that is free. Connections beyond all of them wait with the system.
    async fn next(&self) -> Option<Slot> {
        let (usual, extra) = (Arc::clone(&self.usual), Arc::clone(&self.extra));
        let (permit, is_extra) = tokio::select! {
            biased;
            permit = usual.acquire_owned() => (permit, false),
            permit = extra.acquire_owned() => (permit, true),
        };
        Some(Slot { _permit: permit.ok()?, is_extra })
    }

    /// A usual one instead, where one has become free since.
    fn better(&self, slot: Slot) -> Slot {
        if !slot.is_extra {
            return slot;
        }
        let usual = Arc::clone(&self.usual).try_acquire_owned();
        usual.map_or(slot, |permit| Slot { _permit: permit, is_extra: false })
    }
}

/// The next connection; `None` once the server stops.
async fn accept(
    listener: &TcpListener,
    slots: &Slots,
    stop: &CancellationToken,
) -> Option<(TcpStream, Slot)> {
    let slot = tokio::select! {
        slot = slots.next() => slot?,
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
                return Some((stream, slots.better(slot)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
