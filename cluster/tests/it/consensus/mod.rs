//! The Raft group, as the rest of the node sees it.

mod group;
mod voters;
