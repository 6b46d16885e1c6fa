//! Names to addresses.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use thiserror::Error;

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a server may take for an answer before it, or the next, is asked again.
const ATTEMPT: Duration = Duration::from_secs(2);

type Builder = ResolverBuilder<TokioRuntimeProvider>;

/// A name that does not resolve for now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ResolveError(pub String);

/// Whom names are asked of.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host (A and AAAA).
    ///
    /// # Errors
    /// When there are none, or nobody answers.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError>;

    /// The hosts and ports of a service (SRV).
    ///
    /// # Errors
    /// When there are none, or nobody answers.
    async fn targets(&self, service: &str) -> Result<Vec<(String, u16)>, ResolveError>;
}

/// The name servers and hosts that the system is configured with. The configuration is read anew for
/// each question and no answer is kept: names are resolved again because they may have changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver {
    /// Asked instead, in tests.
    #[cfg(test)]
    server: Option<std::net::SocketAddr>,
}

impl SystemResolver {
    fn resolver(&self) -> Result<TokioResolver, ResolveError> {
        let mut builder = self.builder()?;
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = ATTEMPT;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build().map_err(failed)
    }

    #[cfg(test)]
    fn builder(&self) -> Result<Builder, ResolveError> {
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
        let Some(server) = self.server else {
            return TokioResolver::builder_tokio().map_err(failed);
        };
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        Ok(TokioResolver::builder_with_config(config, Default::default()))
    }

    #[cfg(not(test))]
    fn builder(&self) -> Result<Builder, ResolveError> {
        TokioResolver::builder_tokio().map_err(failed)
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = within_deadline(self.resolver()?.lookup_ip(host)).await?;
        Ok(found.iter().collect())
    }

    async fn targets(&self, service: &str) -> Result<Vec<(String, u16)>, ResolveError> {
        let found = within_deadline(self.resolver()?.srv_lookup(service)).await?;
        let target = |data: &RData| match data {
            RData::SRV(service) => Some((service.target.to_string(), service.port)),
            _ => None,
        };
        Ok(found.answers().iter().filter_map(|record| target(&record.data)).collect())
    }
}

async fn within_deadline<T, E: std::fmt::Display>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, ResolveError> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(ResolveError(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

fn failed(error: impl std::fmt::Display) -> ResolveError {
    ResolveError(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
    use hickory_resolver::proto::rr::{Name, Record, RecordType};
    use tokio::net::UdpSocket;

    use super::*;
    use crate::gossip::seeds::Seed;

    /// A name server that knows `a.test`, `b.test` and `_gossip._udp.test`.
    async fn name_server() -> SystemResolver {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Some(socket.local_addr().unwrap());
        tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&Message::from_vec(&buffer[..length]).unwrap());
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        SystemResolver { server }
    }

    fn answer(question: &Message) -> Message {
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        let records = records(&query.name().to_ascii(), query.query_type());
        if records.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        let name = query.name().clone();
        answer.add_query(query);
        answer.add_answers(
            records.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data)),
        );
        answer
    }

    fn records(name: &str, kind: RecordType) -> Vec<RData> {
        let target = |name: &str, port| SRV::new(0, 0, port, Name::from_ascii(name).unwrap());
        match (name, kind) {
            ("a.test.", RecordType::A) => {
                [1, 2].map(|last| RData::A(A(Ipv4Addr::new(10, 0, 0, last)))).into()
            }
            ("a.test.", RecordType::AAAA) => vec![RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))],
            ("b.test.", RecordType::A) => vec![RData::A(A(Ipv4Addr::new(10, 0, 1, 1)))],
            ("_gossip._udp.test.", RecordType::SRV) => {
                let targets = [("a.test.", 7), ("b.test.", 8), ("gone.test.", 9)];
                targets.map(|(name, port)| RData::SRV(target(name, port))).into()
            }
            _ => Vec::new(),
        }
    }

    async fn found(resolver: &SystemResolver, seed: &str) -> Vec<String> {
        let addresses = Seed::parse(seed, 99).unwrap().addresses(resolver).await.unwrap();
        addresses.iter().map(SocketAddr::to_string).collect()
    }

    #[tokio::test]
    async fn names_are_asked_of_name_servers() {
        let resolver = name_server().await;
        assert_eq!(found(&resolver, "a.test:5").await, ["10.0.0.1:5", "10.0.0.2:5", "[::1]:5"]);
        assert_eq!(found(&resolver, "b.test").await, ["10.0.1.1:99"]);
        assert_eq!(
            found(&resolver, "_gossip._udp.test").await,
            ["10.0.0.1:7", "10.0.0.2:7", "10.0.1.1:8", "[::1]:7"]
        );
        for missing in ["c.test:5", "_other._udp.test"] {
            let seed = Seed::parse(missing, 99).unwrap();
            assert!(seed.addresses(&resolver).await.is_err(), "{missing}");
        }
    }
}
