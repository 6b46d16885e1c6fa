//! Mutual TLS between nodes, when certificates are given.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// A node's certificates, as PEM. `Debug` does not show the key.
#[derive(Clone)]
pub struct PeerTls {
    /// Authorities; a peer's certificate must be by one of them.
    pub authorities: Vec<u8>,
    /// This node's certificate, and those between it and the authority.
    pub certificate: Vec<u8>,
    /// The certificate's key.
    pub key: Vec<u8>,
    /// The name that every node's certificate has; `None` when each has that of its address.
    pub server_name: Option<String>,
}

impl PeerTls {
    pub(super) fn client(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authorities))
            .identity(Identity::from_pem(&self.certificate, &self.key));
        match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }

    /// For the server of this node: callers without a certificate are refused.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.authorities))
            .client_auth_optional(false)
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}
