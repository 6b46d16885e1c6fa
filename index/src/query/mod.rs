//! Queries: text to a typed tree, and the tree to a smaller one.
//!
//! [`parse`] reads text, [`simplify`] reduces the tree, and [`crate::plan`] turns each of its
//! patterns into a trigram expression. Each step's result can be printed.

mod dates;
mod display;
mod error;
mod names;
pub mod regex;
mod simplify;
pub mod tree;

pub use dates::DateRange;
pub use error::{Alert, AlertCode, ErrorCode, QueryError};
pub use names::{NameMatch, NameMatcher};
pub use simplify::simplify;
