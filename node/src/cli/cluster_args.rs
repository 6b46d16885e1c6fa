//! The commands of clusters: part of the one definition in [`super::args`].

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{ConfigArgs, ServerArgs};

/// `aeterna cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// What `aeterna cluster` can do.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Run a cluster of node processes on this machine, without any other server.
    Dev(ClusterDevArgs),
    /// Show how the cluster is. Exit status: 0 healthy, 1 degraded, 2 unavailable.
    Status(ClusterStatusArgs),
    /// Make the group that agrees on the shards' owners anew, when most of its voters are lost for ever.
    Recover(ClusterRecoverArgs),
}

/// `aeterna cluster recover`.
#[derive(Debug, Args)]
#[command(
    after_help = "To be run where the node runs, with its configuration, while the node is stopped. The disk of a
node that voted is best; any other will do, an empty one too. docs/cluster.md says what may be lost.

Examples:
  aeterna cluster recover --config node.toml --dry-run   what would be done
  aeterna cluster recover --config node.toml             do it; then start this node and the others"
)]
pub struct ClusterRecoverArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only tell what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// `aeterna cluster dev`.
#[derive(Debug, Args)]
#[command(after_help = "Prints one JSON line for each node, then how the cluster is until Ctrl-C.

Examples:
  aeterna cluster dev --nodes 5 --dir /tmp/cluster
  kill -9 PID                                       one of the nodes: its shards go to the others")]
pub struct ClusterDevArgs {
    /// Nodes to run.
    #[arg(long, value_name = "NODES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub nodes: u32,
    /// Folder of everything that the cluster keeps; the same folder again continues it.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Shards of a new cluster.
    #[arg(long, value_name = "SHARDS", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=i64::from(aeterna_cluster::shard_map::MAX_SHARDS)))]
    pub shards: u32,
    /// Any setting, for every node; `aeterna config show` lists them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::args::key_and_value)]
    pub set: Vec<(String, String)>,
}

/// `aeterna cluster status`.
#[derive(Debug, Args)]
pub struct ClusterStatusArgs {
    /// Print JSON, as the HTTP API gives it.
    #[arg(long)]
    pub json: bool,
    /// Print it again whenever it changes, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `aeterna code-search shard`.
#[derive(Debug, Args)]
pub struct ShardArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ShardCommand,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print JSON, as the HTTP API gives it.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `aeterna code-search shard` can do.
#[derive(Debug, Subcommand)]
pub enum ShardCommand {
    /// List the shards, who owns them, and how they are.
    #[command(visible_alias = "ls")]
    List,
    /// Show a shard.
    Show {
        /// Its number.
        shard: u32,
    },
    /// Move a shard to another node; to the node that has it, a move that is under way is given up.
    Move {
        /// Its number.
        shard: u32,
        /// Name of the node.
        to: String,
    },
    /// Keep a shard on a node, whatever its size; without a node, no longer.
    Pin {
        /// Its number.
        shard: u32,
        /// Name of the node.
        to: Option<String>,
    },
    /// Move shards from nodes that hold too much to those that hold little.
    Rebalance {
        /// Only show what would move.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `aeterna code-search node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NodeCommand,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print JSON, as the HTTP API gives it.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `aeterna code-search node` can do.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes.
    #[command(visible_alias = "ls")]
    List,
    /// Hand a node's shards over to the others.
    Drain {
        /// Its name.
        node: String,
    },
    /// Forget a node that owns nothing and is not coming back.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name.
        node: String,
    },
}

/// `aeterna code-search storage`.
#[derive(Debug, Args)]
pub struct StorageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: StorageCommand,
}

/// What `aeterna code-search storage` can do.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Check that cold storage has all that it should have. Exit status: 0 it has, 1 something is missing or
    /// damaged, 2 it could not be told.
    Verify(StorageVerifyArgs),
}

/// `aeterna code-search storage verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reads cold storage itself, with the configuration of a node, whether nodes run or not; \
changes nothing.

Examples:
  aeterna code-search storage verify --config /etc/aeterna.toml
  aeterna code-search storage verify --full --set cold_storage.path=/tmp/cluster/cold"
)]
pub struct StorageVerifyArgs {
    /// Read every file and compare its checksum, not only its size.
    #[arg(long)]
    pub full: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}
