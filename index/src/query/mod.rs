//! Queries: text to a typed tree, and the tree to a smaller one.
//!
//! [`parse`] reads text, [`simplify`] reduces the tree, and [`crate::plan`] turns each of its
//! patterns into a trigram expression. Each step's result can be printed.

mod case;
pub(crate) mod dates;
mod display;
mod error;
mod filters;
mod foreign;
mod group;
mod hints;
mod interpret;
mod lex;
mod names;
mod options;
mod parse;
mod qualifiers;
pub mod regex;
mod settings;
mod simplify;
pub mod tree;

pub use dates::DateRange;
pub use error::{Alert, AlertCode, ErrorCode, QueryError};
pub use names::{NameMatch, NameMatcher};
pub use options::{LanguageNames, ParseOptions};
pub use parse::{Query, parse};
pub use simplify::simplify;
