//! One request, one answer, one connection, within a time: so that a history has exactly what was asked and said.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::network::Host;

/// Every node's own, on its host.
pub(crate) const PORT: u16 = 8080;
/// On loopback that takes longer only when nobody takes connections.
const CONNECT: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: &'static str,
    target: String,
    body: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), body: None }
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        Self { body: Some(body.to_string()), ..self }
    }

    /// Sends it to the node on a host, from that host.
    pub(crate) fn send(&self, host: &Host, within: Duration) -> Result<Reply> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let request = self.clone();
        // A thread is on the host of the one that starts it; the host's own stays free for others.
        let ask = move || request.ask(address, within);
        let asked = host.run(move || Builder::new().name("request".to_owned()).spawn(ask))??;
        asked.join().map_err(|_| anyhow!("a client panicked"))?
    }

    fn ask(&self, address: SocketAddr, within: Duration) -> Result<Reply> {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(within))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        // Never used again, and so without a connection that the node may have closed.
        let agent = ureq::Agent::from(config);
        let request = ureq::http::Request::builder()
            .method(self.method)
            .uri(format!("http://{address}{}", self.target));
        let mut response = match &self.body {
            Some(body) => agent
                .run(request.header("Content-Type", "application/json").body(body.as_str())?)?,
            None => agent.run(request.body(())?)?,
        };
        let status = response.status().as_u16();
        Ok(Reply { status, body: response.body_mut().read_to_vec()? })
    }
}

impl Reply {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A text as part of a path or query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// What is made of bytes that a server answers before it closes the connection.
    fn answered(request: &Request, bytes: &'static [u8]) -> Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let first = lines.next().unwrap();
            assert!(lines.any(|line| line.is_empty()));
            (&stream).write_all(bytes).unwrap();
            first
        });
        let reply = request.ask(address, Duration::from_secs(10));
        let Request { method, target, .. } = request;
        assert_eq!(server.join().unwrap(), format!("{method} {target} HTTP/1.1"));
        reply
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{ } ".as_slice();
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        for method in ["GET", "POST", "DELETE"] {
            let request = Request::new(method, "/a?b=c");
            assert_eq!(answered(&request, whole).unwrap().status, 200);
            assert_eq!(answered(&request, chunked).unwrap().json(), serde_json::json!({}));
        }
        let request = Request::new("GET", "/");
        for text in [whole, chunked.as_slice()] {
            // The line end after the last chunk says nothing more.
            for end in 0..text.len() - 2 {
                assert!(answered(&request, &text[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn a_status_that_says_no_is_an_answer() {
        let no = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
        let reply = answered(&Request::new("GET", "/"), no).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (503, "no"));
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
    }
}
