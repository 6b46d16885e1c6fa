//! `aeterna cluster recover`.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};

use super::cluster_args::ClusterRecoverArgs;
use super::terminal::printable;
use super::{CommandError, Exit};
use crate::cluster::recover::{Recovering, Source};
use crate::config;

/// Runs `aeterna cluster recover`.
///
/// # Errors
/// When the group is not to be made anew, or could not be; see
/// [`RecoverError`](crate::cluster::recover::RecoverError).
pub async fn run(args: &ClusterRecoverArgs) -> Result<Exit, CommandError> {
    let loaded = config::load(args.config.config.as_deref(), &args.config.values())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let failed = |error: crate::cluster::recover::RecoverError| {
        CommandError::Other(format!("the cluster is not recovered: {error}"))
    };
    let recovering = Recovering::prepare(&loaded.config).await.map_err(failed)?;
    let shown = io::stdout().write_all(told(&recovering).as_bytes());
    let agreed = match shown {
        Ok(()) if args.dry_run => Ok(false),
        Ok(()) if !args.yes => agreed(),
        shown => shown.map(|()| true),
    };
    match agreed {
        Ok(true) => {
            recovering.carry_out().await.map_err(failed)?;
            println!("Done. Start this node, then the others: those of the old group join anew.");
            Ok(Exit::Success)
        }
        Ok(false) => {
            recovering.give_up().await;
            println!("Nothing was changed.");
            Ok(if args.dry_run { Exit::Success } else { Exit::Nothing })
        }
        Err(error) => {
            recovering.give_up().await;
            Err(error.into())
        }
    }
}

/// Asks a person.
fn agreed() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("nobody can be asked here; say --yes if this is to be done"));
    }
    print!("Make the group anew? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// What will be done, and what may be lost.
fn told(recovering: &Recovering) -> String {
    let Recovering { known, map, voters, running, source, .. } = recovering;
    let names = |names: &mut dyn Iterator<Item = &str>| {
        let names: Vec<String> = names.map(|name| printable(name.as_bytes())).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "cluster {}, {} shards", map.cluster(), map.shards().len());
    let mut voting = voters.values().map(|node| node.name.as_str());
    let _ = writeln!(text, "voters of the old group: {}", names(&mut voting));
    let _ = writeln!(
        text,
        "other nodes that run now: {}",
        names(&mut running.iter().map(|name| name.as_str()))
    );
    let _ = match source {
        Source::Disk => writeln!(
            text,
            "shard map: version {} from this disk. Changes that only lost voters had are lost: an \
             owner, a move or a pin may be an older one.",
            known.version()
        ),
        Source::Node(name) => writeln!(
            text,
            "shard map: version {} from {name}, which is newer than what this disk has. Changes that \
             only lost voters had are lost: an owner, a move or a pin may be an older one.",
            known.version()
        ),
        Source::Nothing => writeln!(
            text,
            "shard map: nobody has one. Every shard gets an owner anew when nodes are there; pins \
             and capacities of nodes that do not come back are lost."
        ),
    };
    let _ = writeln!(
        text,
        "The group is made anew with this node as its only voter, as incarnation {}, and every shard \
         gets a higher epoch. No repository and nothing that was indexed is lost. The voters of the old \
         group lose their votes for good: go on only when most of them will never come back.",
        map.incarnation()
    );
    text
}
