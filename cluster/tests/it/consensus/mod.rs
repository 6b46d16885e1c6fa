//! The Raft group, as the rest of the node sees it.
//!
//! Time is tokio's where nothing else is said, and goes on only while everybody waits: no timeout
//! depends on how busy the machine is. The disk is real.

mod disks;
mod faults;
mod group;
mod histories;
mod messages;
mod recover;
mod voters;
