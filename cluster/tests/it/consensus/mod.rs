//! The Raft group, as the rest of the node sees it.

mod disks;
mod faults;
mod group;
mod messages;
mod voters;
