//! Qualifiers of Zoekt, GitHub and Sourcegraph that this language does not have.

/// What to say about a qualifier that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// What to do instead, for a person.
    pub message: String,
    /// What to write in its place; empty to leave it out, `None` when nothing does the same.
    pub replacement: Option<String>,
}

fn write(replacement: impl Into<String>) -> Option<Advice> {
    let replacement = replacement.into();
    Some(Advice { message: format!("write `{replacement}`"), replacement: Some(replacement) })
}

fn leave_out(reason: &str) -> Option<Advice> {
    Some(Advice { message: format!("{reason}; leave it out"), replacement: Some(String::new()) })
}

fn explain(message: &str) -> Option<Advice> {
    Some(Advice { message: message.to_owned(), replacement: None })
}

/// The advice for `name:value`, when it is a qualifier elsewhere. Names that are frequent in code
/// (`size:`, `in:`, `public:`, `t:`) only count with a value that they have there.
pub(super) fn advice(name: &str, value: &str) -> Option<Advice> {
    let yes = matches!(value, "yes" | "true" | "only");
    let no = matches!(value, "no" | "false");
    match name.to_ascii_lowercase().as_str() {
        "extension" | "ext" => write(format!("path:*.{}", value.trim_start_matches('.'))),
        "filename" => write(format!("path:**/{value}")),
        "pushed" => write(format!("updated:{value}")),
        "since" => write(format!("after:{value}")),
        "until" => write(format!("before:{value}")),
        "owner" | "organization" | "organisation" => write(format!("org:{value}")),
        "repository" => write(format!("repo:{value}")),
        "revision" | "tag" => write(format!("rev:{value}")),
        "t" if matches!(value, "file" | "repo" | "filename" | "filematch") => {
            write(format!("type:{value}"))
        }
        "regex" => write(format!("/{value}/")),
        "visibility" if matches!(value, "public" | "private") => write(format!("is:{value}")),
        "visibility" => leave_out("what may be seen is always searched"),
        "public" if yes => write("is:public"),
        "public" if no => write("is:private"),
        "in" if value == "file" => leave_out("content is searched by default"),
        "in" if value == "path" => explain("put the word in `path:` instead"),
        "index" | "stable" if yes || no => leave_out("this changes nothing here"),
        "context" => leave_out("there are no search contexts here"),
        "repogroup" => {
            explain("name the repositories with `repo:`, `org:` or a regular expression")
        }
        "repohasfile" | "repohascommitafter" => {
            explain("repositories cannot be chosen by what is in them; use `repo:` or `org:`")
        }
        "stars" | "followers" | "topic" | "topics" | "forks" | "help-wanted-issues"
        | "good-first-issues" => {
            explain("this is not known of repositories here; use `repo:` or `org:`")
        }
        "enterprise" | "saved" => explain("use `repo:` or `org:`"),
        "size" if value.starts_with(|c: char| c.is_ascii_digit() || "<>*".contains(c)) => {
            explain("documents cannot be chosen by their size")
        }
        "message" | "msg" | "committer" => explain(
            "commits are not searched; `author:` and `updated:` are for a file's last change",
        ),
        _ => None,
    }
}
