//! Client commands' side of the HTTP API.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::api::problem::{PROBLEM_TYPE, ProblemBody};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Searches have deadlines of their own on the server; this one is for a server that hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `--server` is no address.
    #[error("`{0}` is not the address of a server; give one such as http://127.0.0.1:8080")]
    Address(String),
    /// Nothing listens there.
    #[error(
        "no server answers at {server}; start one with:\n\n  {program} serve --index .\n\n\
         or name another with --server URL or AETERNA_SERVER"
    )]
    NotRunning {
        /// The address that was tried.
        server: String,
        /// How this program was called.
        program: String,
    },
    /// The server's answer is an error.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemBody>),
    /// The answer is none of this API.
    #[error("{server} did not answer as an Aeterna server does ({detail}); check --server")]
    Unexpected {
        /// The address.
        server: String,
        /// What came.
        detail: String,
    },
    /// The connection broke.
    #[error("the connection to {server} failed: {detail}")]
    Broken {
        /// The address.
        server: String,
        /// The reason.
        detail: String,
    },
}

/// Talks to one server.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// A client of the server at this address.
    ///
    /// # Errors
    /// [`ClientError::Address`] when it is none.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(server.to_owned());
        let base = Url::parse(server).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong());
        }
        let loopback = match base.host() {
            Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if loopback {
            // A proxy of the environment cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Broken {
            server: server.to_owned(),
            detail: error.to_string(),
        })?;
        Ok(Self { http, base })
    }

    /// A request for `segments` below the base, each escaped where needed.
    pub fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        self.http.request(method, url)
    }

    /// Sends and reads JSON.
    pub async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let bytes = self.bytes(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.unexpected(error.to_string()))
    }

    /// Sends a JSON body and returns the answer's bytes as they are.
    pub async fn post_bytes(
        &self,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<Vec<u8>, ClientError> {
        self.bytes(self.request(Method::POST, segments).json(body)).await
    }

    /// Sends, and returns the body of a success.
    pub async fn bytes(&self, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            let bytes = response.bytes().await.map_err(|error| self.failed(&error))?;
            return Ok(bytes.to_vec());
        }
        Err(self.refused(status, response).await)
    }

    async fn refused(&self, status: StatusCode, response: Response) -> ClientError {
        let is_problem = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(PROBLEM_TYPE.as_bytes()));
        let body = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<ProblemBody>(&body) {
            Ok(problem) if is_problem => ClientError::Problem(Box::new(problem)),
            _ => self.unexpected(format!("status {status}")),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let server = self.base.to_string();
        if error.is_connect() {
            return ClientError::NotRunning { server, program: super::program() };
        }
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            detail = inner.to_string();
            source = inner.source();
        }
        ClientError::Broken { server, detail }
    }

    fn unexpected(&self, detail: String) -> ClientError {
        ClientError::Unexpected { server: self.base.to_string(), detail }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_are_one_segment_whatever_they_hold() {
        let client = Client::new("http://127.0.0.1:8080/below/").unwrap();
        let request =
            client.request(Method::GET, &["api", "v1", "repos", "owner/na me?#"]).build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "http://127.0.0.1:8080/below/api/v1/repos/owner%2Fna%20me%3F%23"
        );
    }

    #[test]
    fn an_address_must_be_http() {
        for bad in ["", "127.0.0.1:8080", "ftp://host", "localhost:8080", "http://"] {
            assert!(matches!(Client::new(bad), Err(ClientError::Address(_))), "{bad}");
        }
    }
}
