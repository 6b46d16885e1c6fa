//! Names to addresses.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::proto::rr::RData;
use thiserror::Error;

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a server may take for an answer before it, or the next, is asked again.
const ATTEMPT: Duration = Duration::from_secs(2);

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
pub struct SystemResolver;

impl SystemResolver {
    fn resolver() -> Result<TokioResolver, ResolveError> {
        let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = ATTEMPT;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build().map_err(failed)
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = within_deadline(Self::resolver()?.lookup_ip(host)).await?;
        Ok(found.iter().collect())
    }

    async fn targets(&self, service: &str) -> Result<Vec<(String, u16)>, ResolveError> {
        let found = within_deadline(Self::resolver()?.srv_lookup(service)).await?;
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
