//! `aeterna search`.

use std::io::{self, BufWriter, IsTerminal, Write};

use super::args::SearchArgs;
use super::client::{Client, ClientError};
use super::print::{self, Form, Printer};
use super::terminal::{printable, use_colors};
use super::{CommandError, Exit};
use crate::api::search::{SearchAnswer, Skipped};
use crate::http::search::SearchParameters;

/// Results that are asked for at once.
const PAGE: u64 = 1000;

/// Searches and prints.
pub async fn run(args: &SearchArgs) -> Result<Exit, CommandError> {
    let query = args.query.join(" ");
    let client = Client::new(&args.server.server)?;
    let outcome = if args.json {
        json(args, &client, &query).await
    } else {
        text(args, &client, &query).await
    };
    outcome.map_err(|error| match error {
        CommandError::Client(ClientError::Problem(problem)) => {
            CommandError::Search { problem, query }
        }
        other => other,
    })
}

async fn json(args: &SearchArgs, client: &Client, query: &str) -> Result<Exit, CommandError> {
    let body = parameters(args, query, args.limit, args.cursor.clone());
    let bytes = client.post_bytes(&["api", "v1", "search"], &body).await?;
    let answer: SearchAnswer = parse(&bytes)?;
    let mut out = io::stdout().lock();
    out.write_all(&bytes)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(Exit::found(!answer.results.is_empty()))
}

fn parse(bytes: &[u8]) -> Result<SearchAnswer, CommandError> {
    serde_json::from_slice(bytes).map_err(|error| {
        CommandError::Other(format!("the server's answer cannot be read: {error}"))
    })
}

async fn text(args: &SearchArgs, client: &Client, query: &str) -> Result<Exit, CommandError> {
    let terminal = io::stdout().is_terminal();
    let form = match (args.files_with_matches, args.count, terminal) {
        (true, _, _) => Form::Paths,
        (_, true, _) => Form::Counts,
        (_, _, true) => Form::Grouped,
        (_, _, false) => Form::Plain,
    };
    let out = BufWriter::new(io::stdout().lock());
    let mut printer = Printer::new(out, form, use_colors(args.color), terminal);
    let mut shown = 0;
    let mut cut = Vec::new();
    let mut cursor = args.cursor.clone();
    loop {
        let left = args.limit.map(|limit| (limit - shown).min(PAGE));
        let body = parameters(args, query, left, cursor.take());
        let bytes = client.post_bytes(&["api", "v1", "search"], &body).await?;
        let answer = parse(&bytes)?;
        if shown == 0 {
            notices(&answer);
        }
        if args.facets || args.explain {
            return about(args, &answer);
        }
        for result in &answer.results {
            printer.result(result)?;
            if result.ranges_cut && matches!(form, Form::Grouped | Form::Plain) {
                cut.push(format!("{}:{}", result.repository, result.path));
            }
        }
        shown += answer.results.len() as u64;
        let more = args.limit.is_some_and(|limit| shown < limit) && !answer.results.is_empty();
        match answer.next_cursor.clone() {
            Some(next) if more => cursor = Some(next),
            next => {
                printer.finish()?;
                cut_files(&cut);
                if next.is_some() {
                    rest(&answer, shown);
                }
                return Ok(Exit::found(shown > 0));
            }
        }
    }
}

fn parameters(
    args: &SearchArgs,
    query: &str,
    page_size: Option<u64>,
    cursor: Option<String>,
) -> SearchParameters {
    let about = (args.facets || args.explain) && !args.json;
    SearchParameters {
        q: query.to_owned(),
        page_size: page_size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
        cursor,
        context: (args.context > 0).then(|| i64::try_from(args.context).unwrap_or(i64::MAX)),
        facets: args.facets.then_some(true),
        explain: args.explain.then_some(true),
        require_complete: args.require_complete.then_some(true),
        chunks: (args.files_with_matches || args.count || about).then_some(false),
    }
}

/// Prints what was asked about the search instead of its results.
fn about(args: &SearchArgs, answer: &SearchAnswer) -> Result<Exit, CommandError> {
    let mut out = io::stdout().lock();
    if let (true, Some(facets)) = (args.facets, &answer.facets) {
        print::facets(&mut out, facets)?;
    }
    if let (true, Some(explain)) = (args.explain, &answer.explain) {
        print::explain(&mut out, explain)?;
    }
    out.flush()?;
    Ok(Exit::found(!answer.results.is_empty()))
}

/// What a reader of the results has to know: on standard error, so that a pipe stays clean.
fn notices(answer: &SearchAnswer) {
    for alert in &answer.alerts {
        eprintln!("note: {}", printable(alert.message.as_bytes()));
        if let Some(rewrite) = &alert.rewrite {
            eprintln!("  try: {}", printable(rewrite.as_bytes()));
        }
    }
    for skipped in &answer.skipped {
        eprintln!("{}", skipped_line(skipped));
    }
    if !answer.complete && answer.skipped.is_empty() {
        eprintln!("incomplete: not everything that may match was looked at");
    }
}

/// One entry of `skipped` as a line.
pub fn skipped_line(skipped: &Skipped) -> String {
    let items = match skipped.items.as_slice() {
        [] => String::new(),
        items => format!(": {}", items.join(", ")),
    };
    format!(
        "skipped ({}): {}",
        skipped.reason,
        printable(format!("{}{items}", skipped.message).as_bytes())
    )
}

/// Says that files have more matches than an answer has of each.
fn cut_files(files: &[String]) {
    match files {
        [] => {}
        [file] => eprintln!("{} has more matches than are shown", printable(file.as_bytes())),
        [file, ..] => eprintln!(
            "{} files have more matches than are shown, such as {}",
            files.len(),
            printable(file.as_bytes())
        ),
    }
}

fn rest(answer: &SearchAnswer, shown: u64) {
    let count = answer.stats.document_count;
    let total = match count.relation {
        crate::api::search::Relation::Eq => format!("{}", count.value),
        crate::api::search::Relation::Gte => format!("at least {}", count.value),
    };
    eprintln!("{shown} of {total} files shown; --limit N shows more, count:all in the query all");
}
