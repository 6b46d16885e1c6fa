//! The search engine: documents in, ranked matches out.
pub mod languages;
pub mod symbols;
