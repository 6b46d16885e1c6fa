//! One connection to a server on loopback, and how long it took to answer.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::children::Running;

/// Longer than the slowest answer that a peer was seen to give; what takes longer is an error.
const DEADLINE: Duration = Duration::from_secs(120);
/// Larger than every answer: a guard against a server that never ends.
const LARGEST_ANSWER: u64 = 4 << 30;

/// A client that keeps its connection open between requests.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    root: String,
}

/// An answer, all of it, and the time until its last byte.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) elapsed: Duration,
}

impl Answer {
    /// The body, when the server said that it succeeded.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        self.read()
    }

    /// What is wanted of the body, when the server said that it succeeded.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        if !(200..300).contains(&self.status) {
            bail!("status {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        serde_json::from_slice(&self.body).context("the answer is not the JSON that was expected")
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { agent: config.into(), root: format!("http://{address}") }
    }

    /// GET with query parameters.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer> {
        let started = Instant::now();
        let mut request = self.agent.get(format!("{}{path}", self.root));
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        let response = request.call().with_context(|| format!("GET {path}"))?;
        Self::finish(started, response)
    }

    /// POST of a JSON document.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let body = serde_json::to_vec(body)?;
        let started = Instant::now();
        let response = self
            .agent
            .post(format!("{}{path}", self.root))
            .header("Content-Type", "application/json")
            .send(&body[..])
            .with_context(|| format!("POST {path}"))?;
        Self::finish(started, response)
    }

    fn finish(started: Instant, mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_vec()
            .context("the answer broke off")?;
        Ok(Answer { status, body, elapsed: started.elapsed() })
    }
}

/// A loopback address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until `server` accepts connections at `address`.
pub(crate) fn wait_for_listener(
    server: &mut Running,
    address: SocketAddr,
    patience: Duration,
) -> Result<()> {
    let until = Instant::now() + patience;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = server.child().try_wait()? {
            bail!("the server at {address} ended while starting: {status}");
        }
        if Instant::now() > until {
            bail!("the server at {address} does not listen after {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
