//! Crashes and full disks at each step that changes an index: nothing acknowledged is lost, nothing
//! leaks, and the work can go on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod full_disk;
mod script;
#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "../it/support.rs"]
mod support;
