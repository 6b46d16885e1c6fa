//! The search engine: documents in, ranked matches out.

pub mod plan;
pub mod query;
pub mod trigram;
