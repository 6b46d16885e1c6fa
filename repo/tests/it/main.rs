//! Tests of the crate on real repositories, made by the `git` program in temporary folders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_days;
mod browse;
mod catalog;
mod catalog_away;
mod cold_storage;
mod faulty;
mod fences;
mod fetch;
mod gcs;
mod history;
mod manager;
mod mirrors;
mod proxy;
mod recovery;
mod remote;
mod replicas;
mod shards;
mod support;
mod trees;
mod urls;
mod watermark;
mod world;
