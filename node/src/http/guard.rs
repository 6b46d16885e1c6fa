//! Keeps web pages away from the loopback server. Without authentication, everything that runs in
//! the user's browser could reach it: a page under another name that resolves to 127.0.0.1 (DNS
//! rebinding), or a form that posts across sites.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::cluster::Forwarded;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests whose `Host` is not this server's, and those of other sites that change
/// something. What another node forwards has passed that node's guard.
pub async fn guard(State(listen): State<IpAddr>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Forwarded>().is_some() {
        return next.run(request).await;
    }
    let authority = request.uri().authority().map(|authority| authority.to_string());
    match check(request.method(), authority.as_deref(), request.headers(), listen) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(
    method: &Method,
    authority: Option<&str>,
    headers: &HeaderMap,
    listen: IpAddr,
) -> Result<(), Problem> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // HTTP/2 carries the host in its `:authority`.
    let host = authority.or_else(|| header(header::HOST)).unwrap_or_default();
    if !is_ours(host, listen) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown-host",
            "the Host header names another server; use localhost or the address that the server \
             listens on",
        ));
    }
    let harmless = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !harmless && is_cross_site(header(FETCH_SITE), header(header::ORIGIN), host) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross-site-request",
            "a page of another site may not change anything here",
        ));
    }
    Ok(())
}

fn is_ours(host: &str, listen: IpAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == listen)
}

/// Browsers set at least one of both headers with every request that is not a plain navigation;
/// other clients set neither.
fn is_cross_site(fetch_site: Option<&str>, origin: Option<&str>, host: &str) -> bool {
    match (fetch_site, origin) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            origin.split_once("://").is_none_or(|(_, rest)| !rest.eq_ignore_ascii_case(host))
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use axum::http::HeaderValue;

    fn outcome(method: Method, pairs: &[(&'static str, &str)]) -> Option<u16> {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let listen = "127.0.0.1".parse().unwrap();
        check(&method, None, &headers, listen).err().map(|problem| problem.status().as_u16())
    }

    #[test]
    fn only_loopback_names_are_served() {
        for good in ["localhost:8080", "127.0.0.1", "127.8.8.8:1", "[::1]:8080", "LOCALHOST"] {
            assert_eq!(outcome(Method::GET, &[("host", good)]), None, "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example:8080", "10.0.0.1", "", "a b"] {
            assert_eq!(outcome(Method::GET, &[("host", bad)]), Some(421), "{bad}");
        }
    }

    #[test]
    fn other_sites_may_not_change_anything() {
        let host = ("host", "localhost:8080");
        for (headers, status) in [
            (vec![host], None),
            (vec![host, ("origin", "http://localhost:8080")], None),
            (vec![host, ("origin", "http://localhost:9090")], Some(403)),
            (vec![host, ("origin", "https://evil.example")], Some(403)),
            (vec![host, ("origin", "null")], Some(403)),
            (vec![host, ("sec-fetch-site", "same-origin")], None),
            (vec![host, ("sec-fetch-site", "none")], None),
            (vec![host, ("sec-fetch-site", "same-site")], Some(403)),
            (
                vec![host, ("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8080")],
                Some(403),
            ),
        ] {
            assert_eq!(outcome(Method::POST, &headers), status, "{headers:?}");
            assert_eq!(outcome(Method::DELETE, &headers), status, "{headers:?}");
            assert_eq!(outcome(Method::GET, &headers), None, "{headers:?}");
        }
    }
}
