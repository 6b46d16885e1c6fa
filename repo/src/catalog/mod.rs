//! The catalog: what repositories there are, their state and what is to be done.

mod error;

pub use error::CatalogError;
