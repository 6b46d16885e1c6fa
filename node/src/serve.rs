//! `aeterna serve`: wires the parts together, runs them, and takes them apart.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aeterna_repo::{ManagerError, Observer, RepoManager, is_disk_full};
use axum::Router;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::args::ServeArgs;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::{Cluster, Opening, StartError};
use crate::config::{self, Config, ConfigError, Loaded};
use crate::first_index;
use crate::http::listener::{self, ListenerLimits};
use crate::http::starting::{self, Starting};
use crate::http::{self, AppState};
use crate::stop::Stop;
use crate::telemetry::{self, Metrics};

/// Name of the file in the data folder that says where a running server listens.
pub const SERVER_FILE: &str = "server.json";
/// Percent of the time for a shutdown in which a node of a cluster hands over what it owns.
const DRAIN_SHARE: u32 = 75;
/// Percent of it in which no work is to be left; the rest is for answers that are being written, and threads.
const END_SHARE: u32 = 90;
/// How long to wait before it is looked again whether the database is there.
const RETRY: Duration = Duration::from_secs(2);
/// Time that threads get to end after everything else has.
const THREADS_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Anyone on the network could read everything.
    #[error(
        "refusing to listen on {0}: without authentication, which is not configured, only \
         loopback addresses such as 127.0.0.1:8080 are served"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; stop the other server or choose --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use {path}: {source}; choose another folder with --data")]
    Data {
        /// The folder or file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The repositories or their index cannot be opened.
    #[error("cannot open what is in {data}: {source}")]
    Open {
        /// The data folder.
        data: PathBuf,
        /// The reason.
        source: ManagerError,
    },
    /// Which node gets the repository is decided when there is a cluster to ask.
    #[error(
        "`--index` is for a node alone; start this one without, and then run `aeterna repo add`"
    )]
    IndexInCluster,
    /// The node cannot be one of its cluster.
    #[error("cannot be one of a cluster: {0}")]
    Cluster(#[from] StartError),
    /// A part of it has failed that it cannot run without.
    #[error("{0}")]
    Failed(String),
    /// The system refuses threads or signals.
    #[error("the system refuses: {0}")]
    System(io::Error),
}

/// Runs the server until it is asked to stop.
///
/// # Errors
/// When it cannot start, or stopped for what has failed.
pub fn run(args: &ServeArgs) -> Result<(), ServeError> {
    let loaded = config::load(args.config.config.as_deref(), &args.config.values())?;
    let address = loaded.config.listen.0;
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    if !args.index.is_empty() && !loaded.config.cluster_join.0.is_empty() {
        return Err(ServeError::IndexInCluster);
    }
    telemetry::start_logging(&loaded.config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(io_threads())
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let (stop, limit) = (Stop::default(), limits_of(&loaded.config).shutdown_timeout);
    let outcome = runtime.block_on(serve(loaded, args, &stop));
    // A thread in a search or a read cannot be stopped; what it would have done is not needed.
    runtime.shutdown_timeout(stop.left_of(limit).min(THREADS_TIMEOUT));
    outcome
}

/// Threads that wait for connections and move what goes over them: half the processors. Searches have threads of
/// their own, and each of these that wakes with nothing left to do takes a processor from them.
fn io_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2)
}

async fn serve(loaded: Loaded, args: &ServeArgs, stop: &Stop) -> Result<(), ServeError> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = loaded.config;
    let data = config.data.clone();
    let unusable = |source| ServeError::Data { path: data.clone(), source };
    std::fs::create_dir_all(&config.data).map_err(unusable)?;
    stop.on_signals().map_err(ServeError::System)?;
    if args.stop_with_stdin {
        tokio::spawn(stop_at_end_of_input(stop.clone()));
    }

    // The port first: a second server on it must fail before it touches anything.
    let listener = listen(config.listen.0).await?;
    let address = listener.local_addr().map_err(ServeError::System)?;
    let starting = Starting::new(config.node_name.clone(), stop.clone());
    let (serves, served) = watch::channel(starting::router(Arc::clone(&starting), address));
    let limits = limits_of(&config);
    let listening = tokio::spawn(listener::serve(listener, served, limits, stop.clone()));
    let outcome = run_node(config, &starting, (serves, address), args.index.clone(), stop).await;
    // What has ended by itself has nothing to wait for.
    stop.begin();
    stop.drained.cancel();
    if let Err(error) = listening.await {
        tracing::error!(%error, "the listener ended without a result");
    }
    outcome?;
    tracing::info!("stopped");
    stop.failed().map_or(Ok(()), |reason| Err(ServeError::Failed(reason.to_owned())))
}

/// What the node is made of before it answers anything.
struct Opened {
    manager: Arc<RepoManager>,
    opening: Option<Opening>,
    cluster_metrics: Arc<ClusterMetrics>,
    metrics: Arc<Metrics>,
}

/// Opens the node, has it answer at the address, and takes it apart when it is to stop.
async fn run_node(
    config: Config,
    starting: &Starting,
    (serves, address): (watch::Sender<Router>, SocketAddr),
    index: Vec<String>,
    stop: &Stop,
) -> Result<(), ServeError> {
    let opened = tokio::select! {
        opened = open(&config, starting) => opened?,
        // Nothing has begun yet that would have to be ended in order.
        () = stop.asked.cancelled() => return Ok(()),
    };
    let Opened { manager, opening, cluster_metrics, metrics } = opened;
    let timeout = limits_of(&config).shutdown_timeout;
    let (cluster, calls) = match opening {
        Some(opening) => {
            let joined = opening.join(&config, address, Arc::clone(&manager), cluster_metrics);
            tokio::select! {
                joined = joined => joined.map(|(cluster, calls)| (Some(cluster), Some(calls)))?,
                // On a full disk the Raft group's part waits for room. It has no shard to hand over yet.
                () = stop.asked.cancelled() => {
                    end(manager, None, stop, timeout).await;
                    return Ok(());
                }
            }
        }
        None => (None, None),
    };
    let data = config.data.clone();
    let state = AppState::new(
        Arc::clone(&manager),
        cluster.clone(),
        config,
        metrics,
        address,
        stop.clone(),
    );
    let state = Arc::new(state);
    let router = http::router(Arc::clone(&state));
    // Whoever finds the file is answered by the node.
    serves.send_modify(|served| *served = router.clone());
    let server_file = match ServerFile::write(&data, address, cluster.as_deref()) {
        Ok(file) => Some(file),
        // What is on a full disk can be searched nonetheless.
        Err(error) if is_disk_full(&error) => {
            tracing::error!(%error, "the disk is full: commands do not find this server by its data folder, and need `--server http://{address}`");
            None
        }
        Err(source) => return Err(ServeError::Data { path: data, source }),
    };
    let ended = CancellationToken::new();
    if let (Some(cluster), Some(calls)) = (&cluster, calls) {
        cluster.serve(calls, &state, router, ended.clone())?;
        cluster.run(stop.clone());
    }
    announce(address);
    let indexing = tokio::spawn(first_index::run(Arc::clone(&manager), index, address));
    end(manager, cluster, stop, timeout).await;
    ended.cancel();
    indexing.abort();
    drop(server_file);
    Ok(())
}

/// Opens the cluster's part of the disk and the repositories.
async fn open(config: &Config, starting: &Starting) -> Result<Opened, ServeError> {
    let opening = match config.cluster_join.0.is_empty() {
        true => None,
        false => Some(Opening::start(config, starting).await?),
    };
    starting.goes_on();
    let cluster_metrics = Arc::new(ClusterMetrics::default());
    let metrics = Arc::new(Metrics::new(opening.is_some().then_some(&*cluster_metrics)));
    let mut manager = config.manager();
    let measured = Arc::clone(&metrics);
    manager.indexed = Observer::new(move |elapsed| measured.indexed(elapsed));
    manager.cluster = opening.as_ref().map(|opening| {
        config.cluster_shards(opening.id(), opening.shards(), Arc::clone(&opening.cold))
    });
    let manager = loop {
        match RepoManager::open(manager.clone()).await {
            // The others search on without it, and this one is to be one of them as soon as it is back.
            Err(error) if opening.is_some() && error.is_catalog_away() => {
                starting.waits_for(format!("the database: {error}"));
                tokio::time::sleep(RETRY).await;
            }
            opened => {
                break opened.map_err(|source| {
                    let data = config.data.clone();
                    ServeError::Open { data, source }
                })?;
            }
        }
    };
    starting.goes_on();
    Ok(Opened { manager, opening, cluster_metrics, metrics })
}

/// Asks the server to stop when standard input ends.
async fn stop_at_end_of_input(stop: Stop) {
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 256];
    while input.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    tracing::info!("standard input has ended; stopping");
    stop.begin();
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Waits until the server is asked to stop, then until no work is left or its time has passed.
async fn end(
    manager: Arc<RepoManager>,
    cluster: Option<Arc<Cluster>>,
    stop: &Stop,
    timeout: Duration,
) {
    stop.asked.cancelled().await;
    let ending = async {
        if let Some(cluster) = &cluster {
            cluster.drain(timeout * DRAIN_SHARE / 100).await;
        }
        manager.shutdown().await;
        if let Some(cluster) = &cluster {
            cluster.leave().await;
        }
    };
    tokio::select! {
        () = ending => {}
        () = stop.hurry.cancelled() => {}
        () = tokio::time::sleep(stop.left_of(timeout * END_SHARE / 100)) => {
            tracing::warn!("work was still running when the time for the shutdown had passed; it continues at the next start");
        }
    }
    stop.drained.cancel();
}

fn limits_of(config: &Config) -> ListenerLimits {
    ListenerLimits {
        connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
        head_timeout: Duration::from_secs(config.read_timeout_seconds),
        shutdown_timeout: Duration::from_secs(config.shutdown_timeout_seconds),
    }
}

/// Says on standard output where the server is: a script that took port 0 reads it there or in
/// [`SERVER_FILE`].
fn announce(address: SocketAddr) {
    // Whoever started the server may have closed its output.
    let _ = writeln!(io::stdout(), "listening on http://{address}");
    tracing::debug!(%address, "listening");
}

/// What [`SERVER_FILE`] says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Address of the HTTP API.
    pub address: String,
    /// The same as a URL.
    pub url: String,
    /// Id of the process.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Address for other nodes' calls, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// Address of gossip, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gossip: Option<String>,
}

/// The file that says where a running server listens; removed at the end.
#[derive(Debug)]
struct ServerFile(PathBuf);

impl ServerFile {
    fn write(data: &Path, address: SocketAddr, cluster: Option<&Cluster>) -> io::Result<Self> {
        let path = data.join(SERVER_FILE);
        let facts = ServerFacts {
            address: address.to_string(),
            url: format!("http://{address}"),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            grpc: cluster.map(|cluster| cluster.grpc().to_string()),
            gossip: cluster.map(|cluster| cluster.gossip().to_string()),
        };
        let content = serde_json::to_string(&facts)?;
        let partial = data.join(format!("{SERVER_FILE}.partial"));
        let written = std::fs::write(&partial, format!("{content}\n"));
        if written.is_err() {
            // It would say nothing, and one of an earlier server something else.
            let _ = std::fs::remove_file(&partial);
            let _ = std::fs::remove_file(&path);
        }
        written?;
        std::fs::rename(&partial, &path)?;
        Ok(Self(path))
    }
}

impl Drop for ServerFile {
    fn drop(&mut self) {
        // After a crash the file stays too; readers check that the server answers.
        let _ = std::fs::remove_file(&self.0);
    }
}
