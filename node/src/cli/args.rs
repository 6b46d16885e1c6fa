//! The one definition of commands and flags; help, completions and man pages are made from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cluster_args::{ClusterArgs, NodeArgs, ShardArgs};
pub use super::cluster_args::{StorageArgs, StorageCommand, StorageVerifyArgs};
use crate::config::FlagValue;

const EXAMPLES: &str = "Examples:
  aeterna serve --index .                      index this repository and serve
  aeterna search 'fn main lang:rust'           search
  aeterna repo add https://example.com/a/b     index another repository
  aeterna repo list                            what is indexed, and how far";

/// Exact code search over git repositories.
#[derive(Debug, Parser)]
#[command(name = "aeterna", version, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `aeterna` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Search the indexed repositories (short for `code-search search`).
    Search(SearchArgs),
    /// Manage what is indexed (short for `code-search repo`).
    Repo(RepoArgs),
    /// Search code and manage what is indexed.
    CodeSearch(CodeSearchArgs),
    /// Run a cluster on this machine, or see how one is (short for `code-search cluster`).
    Cluster(ClusterArgs),
    /// See and change who owns which shard (short for `code-search shard`).
    Shard(ShardArgs),
    /// See and change the nodes of a cluster (short for `code-search node`).
    Node(NodeArgs),
    /// Look after cold storage (short for `code-search storage`).
    Storage(StorageArgs),
    /// Show the configuration.
    Config(ConfigCommandArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  aeterna completions bash > ~/.local/share/bash-completion/completions/aeterna"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write those of all commands into a folder.
    #[command(after_help = "Example:\n  aeterna man | man -l -")]
    Man {
        /// Folder to write the pages of all commands into.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Flags that change the configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file; default: `aeterna.toml` in the configuration folder, where it exists.
    #[arg(long, value_name = "FILE", env = crate::config::CONFIG_VARIABLE)]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Folder of everything that the server keeps.
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// How log lines are written: auto, human or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Any setting; `aeterna config show` lists them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl ConfigArgs {
    /// The values that flags give.
    pub fn values(&self) -> Vec<FlagValue> {
        let own = [
            ("--listen", "listen", &self.listen),
            ("--data", "data", &self.data),
            ("--log-format", "log.format", &self.log_format),
        ];
        let set = self.set.iter().map(|(key, value)| FlagValue {
            flag: format!("--set {key}"),
            key: key.clone(),
            value: value.clone(),
        });
        own.into_iter()
            .filter_map(|(flag, key, value)| {
                let value = value.clone()?;
                Some(FlagValue { flag: flag.to_owned(), key: key.to_owned(), value })
            })
            .chain(set)
            .collect()
    }
}

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "expected KEY=VALUE, such as search.page_size=100".to_owned())
}

/// `aeterna serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  aeterna serve --index .
  aeterna serve --listen 127.0.0.1:0 --data /tmp/aeterna --index https://example.com/owner/name")]
pub struct ServeArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Repository to index, or to sync where it is indexed already; may be given several times.
    #[arg(long, value_name = "URL-or-path")]
    pub index: Vec<String>,
    /// Stop when standard input ends, as it does with the process that started this one.
    #[arg(long)]
    pub stop_with_stdin: bool,
}

/// `aeterna code-search`.
#[derive(Debug, Args)]
pub struct CodeSearchArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CodeSearchCommand,
}

/// What `aeterna code-search` can do.
#[derive(Debug, Subcommand)]
pub enum CodeSearchCommand {
    /// Search the indexed repositories.
    Search(SearchArgs),
    /// Manage what is indexed.
    Repo(RepoArgs),
    /// Run a cluster on this machine, or see how one is.
    Cluster(ClusterArgs),
    /// See and change who owns which shard.
    Shard(ShardArgs),
    /// See and change the nodes of a cluster.
    Node(NodeArgs),
    /// Look after cold storage.
    Storage(StorageArgs),
}

/// Which server a client command talks to.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// The server's address.
    #[arg(
        long,
        value_name = "URL",
        env = "AETERNA_SERVER",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    pub server: String,
}

/// When output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `aeterna search`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 when something was found, 1 when nothing was, 2 on an error.

Examples:
  aeterna search 'fn main lang:rust'
  aeterna search 'sym:parse path:src/**'
  aeterna search '/TODO\\(\\w+\\)/ -is:vendored' --limit 200
  aeterna search --json 'repo:owner/name foo' | jq '.stats'
  aeterna search -- '-lang:rust main'"
)]
pub struct SearchArgs {
    /// The query; several words are joined by spaces.
    #[arg(required = true, value_name = "QUERY")]
    pub query: Vec<String>,
    /// Print the answer as JSON, as the HTTP API gives it.
    #[arg(long)]
    pub json: bool,
    /// Print only the paths of what was found.
    #[arg(short = 'l', long, conflicts_with_all = ["json", "count"])]
    pub files_with_matches: bool,
    /// Print only the number of matches in each file.
    #[arg(short, long, conflicts_with = "json")]
    pub count: bool,
    /// Print the number of files by language, repository, author and month of the last change instead
    /// of results.
    #[arg(long)]
    pub facets: bool,
    /// Print how the answer is found instead of results: the query's tree, the trigram expression,
    /// candidates, bytes read, time of each step.
    #[arg(long, conflicts_with = "facets")]
    pub explain: bool,
    /// Lines of context above and below a match.
    #[arg(short = 'C', long, value_name = "LINES", default_value_t = 0)]
    pub context: u64,
    /// Results to print at most; default: the server's page. `count:all` in the query prints all.
    #[arg(short = 'n', long, value_name = "RESULTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Continue where the answer with this `nextCursor` ended.
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Fail rather than leave out anything that may match.
    #[arg(long)]
    pub require_complete: bool,
    /// When to colour.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `aeterna repo`.
#[derive(Debug, Args)]
#[command(after_help = "A repository is named by its name (owner/name), its id, or its URL.

Examples:
  aeterna repo add . --wait
  aeterna repo add https://example.com/owner/name --branch main --branch 'release/*'
  aeterna repo list --state error
  aeterna repo not-indexed owner/name")]
pub struct RepoArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RepoCommand,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print JSON, as the HTTP API gives it.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What `aeterna repo` can do.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Index a repository.
    Add {
        /// https://, ssh://, file:// or a path.
        url: String,
        /// Name to give it; default: taken from the URL.
        #[arg(long, value_name = "OWNER/NAME")]
        name: Option<String>,
        /// Glob of branches to index (`tags/…` for tags); may be given several times; default: the
        /// default branch.
        #[arg(long = "branch", value_name = "GLOB")]
        branches: Vec<String>,
        /// Wait until it can be searched.
        #[arg(long)]
        wait: bool,
    },
    /// List repositories.
    #[command(visible_alias = "ls")]
    List {
        /// Only those with this in their name.
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Only those in this state.
        #[arg(long)]
        state: Option<String>,
    },
    /// Show a repository: its state, progress, revisions and last error.
    Show {
        /// Name, id or URL.
        repository: String,
    },
    /// Fetch a repository and index what changed.
    Sync {
        /// Name, id or URL.
        repository: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// Index a repository from scratch.
    Reindex {
        /// Name, id or URL.
        repository: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// Remove a repository from the index.
    #[command(visible_alias = "remove")]
    Rm {
        /// Name, id or URL.
        repository: String,
    },
    /// List the files whose content is not in the index, with the reason.
    NotIndexed {
        /// Name, id or URL.
        repository: String,
    },
    /// List what happened to a repository, newest first.
    Events {
        /// Name, id or URL.
        repository: String,
        /// Events to print at most.
        #[arg(long, value_name = "EVENTS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

/// `aeterna config`.
#[derive(Debug, Args)]
pub struct ConfigCommandArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What `aeterna config` can do.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting's effective value and where it comes from; secrets are masked.
    #[command(
        after_help = "The output is a valid configuration file.\n\nExample:\n  aeterna config show --set search.page_size=100"
    )]
    Show {
        /// Configuration.
        #[command(flatten)]
        config: Box<ConfigArgs>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn long_and_short_forms_parse_alike() {
        for start in [vec!["aeterna", "code-search"], vec!["aeterna"]] {
            for rest in [
                vec!["search", "-l", "fn", "main"],
                vec!["repo", "add", ".", "--wait", "--json"],
                vec!["repo", "--server", "http://h", "list", "--state", "ready"],
                vec!["repo", "rm", "a/b", "--server", "http://h"],
            ] {
                let all: Vec<_> = start.iter().chain(&rest).collect();
                assert!(Cli::try_parse_from(&all).is_ok(), "{all:?}");
            }
        }
    }

    #[test]
    fn flags_become_settings() {
        let cli = Cli::try_parse_from([
            "aeterna",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "search.page_size = 7",
        ])
        .unwrap();
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        let values: Vec<_> =
            serve.config.values().into_iter().map(|v| (v.flag, v.key, v.value)).collect();
        assert_eq!(values[0], ("--listen".into(), "listen".into(), "127.0.0.1:0".into()));
        assert_eq!(values[1].1, "search.page_size");
    }
}
