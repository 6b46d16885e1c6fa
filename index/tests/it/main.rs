//! What the engine promises, tested through its public interface.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod changes;
mod check;
mod content;
mod damage;
mod definitions;
mod export;
mod gathered;
mod gathered_instead;
mod generate;
mod in_parts;
mod naive;
mod oracle;
mod query_compatibility;
mod query_parse;
mod query_rows_habits;
mod query_rows_language;
mod query_simplify;
mod query_support;
mod ranked;
mod repositories;
mod shards;
mod snapshot;
mod support;
mod unicode;
mod world;
