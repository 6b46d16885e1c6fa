//! Whom a node asks first.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::resolve::{Resolve, ResolveError};

/// Bytes of a DNS name, at most (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
/// Addresses that are taken from one name, at most.
const MAX_ADDRESSES: usize = 4_096;
/// Targets of a DNS service that are resolved, at most.
const MAX_TARGETS: usize = 64;
/// After this time no more targets of a DNS service are resolved.
const ENOUGH: Duration = Duration::from_secs(10);

/// One of those that a node asks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Where it is.
    Address(SocketAddr),
    /// A DNS name with A and AAAA records, and the port.
    Host(String, u16),
    /// A DNS name with SRV records, which have the ports.
    Service(String),
}

/// A text that is no seed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` says nobody to join the cluster by; use `host:port`, `[address]:port`, a DNS name, or a \
     DNS service such as `_gossip._udp.example.org`"
)]
pub struct BadSeed(String);

impl Seed {
    /// Reads one; a name without a port has `default_port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, BadSeed> {
        let bad = || BadSeed(text.escape_debug().take(80).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(address).filter(|to| to.port() != 0).map(Self::Address).ok_or_else(bad);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Address(SocketAddr::new(ip, default_port)));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        if !is_name(name) {
            return Err(bad());
        }
        match port {
            None if name.starts_with('_') => Ok(Self::Service(name.to_owned())),
            None => Ok(Self::Host(name.to_owned(), default_port)),
            Some(_) if name.starts_with('_') => Err(bad()),
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => Ok(Self::Host(name.to_owned(), port)),
                _ => Err(bad()),
            },
        }
    }

    /// Where it is now.
    pub async fn addresses(
        &self,
        resolver: &dyn Resolve,
    ) -> Result<BTreeSet<SocketAddr>, ResolveError> {
        match self {
            Self::Address(address) => Ok([*address].into()),
            Self::Host(name, port) => host(resolver, name, *port).await,
            Self::Service(name) => service(resolver, name).await,
        }
    }

    /// Whether it is found by asking.
    pub fn is_name(&self) -> bool {
        !matches!(self, Self::Address(_))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
            Self::Service(name) => name.fmt(f),
        }
    }
}

fn is_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    labels.len() <= MAX_NAME && labels.split('.').all(is_label)
}

async fn host(
    resolver: &dyn Resolve,
    name: &str,
    port: u16,
) -> Result<BTreeSet<SocketAddr>, ResolveError> {
    let found = resolver.addresses(name).await?;
    Ok(found.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect())
}

/// The addresses of all targets that resolve; an error when there are some and none does.
async fn service(resolver: &dyn Resolve, name: &str) -> Result<BTreeSet<SocketAddr>, ResolveError> {
    let mut addresses = BTreeSet::new();
    let mut failed = None;
    let started = Instant::now();
    for (target, port) in resolver.targets(name).await?.into_iter().take(MAX_TARGETS) {
        match host(resolver, &target, port).await {
            Ok(found) => addresses.extend(found),
            Err(error) => failed = Some(error),
        }
        if started.elapsed() > ENOUGH {
            break;
        }
    }
    match failed {
        Some(error) if addresses.is_empty() => Err(error),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn seeds_are_addresses_names_or_services() {
        let address = |text: &str| Seed::Address(text.parse().unwrap());
        let host = |name: &str, port| Seed::Host(name.to_owned(), port);
        for (text, seed) in [
            ("10.0.0.1:7946", address("10.0.0.1:7946")),
            ("[2001:db8::1]:7", address("[2001:db8::1]:7")),
            ("10.0.0.1", address("10.0.0.1:99")),
            ("2001:db8::1", address("[2001:db8::1]:99")),
            ("a.example.org:7946", host("a.example.org", 7946)),
            ("headless", host("headless", 99)),
            ("a.example.org.", host("a.example.org.", 99)),
            ("_gossip._udp.a.b", Seed::Service("_gossip._udp.a.b".to_owned())),
        ] {
            assert_eq!(Seed::parse(text, 99).unwrap(), seed, "{text}");
        }
        let long = format!("{}:1", "x".repeat(300));
        for bad in ["", ":1", "a:0", "a:65536", "a:b", "10.0.0.1:0", "http://a/", "a..b", "a b:1"]
            .into_iter()
            .chain(["_gossip._udp.a:1", "[::1]", "a\n:1", "ä:1", long.as_str()])
        {
            let error = Seed::parse(bad, 99).unwrap_err().to_string();
            assert!(error.len() < 400 && !error.contains('\n'), "{error}");
        }
    }
}
