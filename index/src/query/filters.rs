//! The qualifiers that a document's attributes must satisfy.

use std::ops::Range;

use super::dates::{self, DateRange};
use super::error::{AlertCode, ErrorCode, QueryError};
use super::interpret::{Interpreter, Place};
use super::lex::{Form, Term, is_predicate};
use super::names::{NameMatch, is_glob};
use super::qualifiers::Qualifier;
use super::regex::compile_source;
use super::tree::{Case, Filter, Inclusion, Node, Visibility};

const IS: &str = "`archived`, `fork`, `vendored`, `generated`, `public` or `private`";

impl Interpreter<'_> {
    /// The node of a filter.
    pub fn filter(
        &mut self,
        qualifier: Qualifier,
        term: &Term,
        place: Place,
    ) -> Result<Node, QueryError> {
        let text = term.value.text.as_str();
        let filter = match qualifier {
            Qualifier::Repository => return self.repository(term),
            Qualifier::Revision => return self.revisions(text, term.value.form, term),
            Qualifier::Organisation => self.organisation(term)?,
            Qualifier::Language => self.language(term)?,
            Qualifier::Is => self.is(term)?,
            Qualifier::Archived => {
                Filter::Archived(self.inclusion(term, place, "archived", "only")?)
            }
            Qualifier::Fork => Filter::Fork(self.inclusion(term, place, "fork", "yes")?),
            Qualifier::License => self.license(term)?,
            Qualifier::Author => self.author(term)?,
            Qualifier::Updated => self.updated(term, dates::parse_range)?,
            Qualifier::Before => self.updated(term, dates::parse_before)?,
            Qualifier::After => self.updated(term, dates::parse_after)?,
            _ => {
                return Err(QueryError::new(
                    ErrorCode::NotSupportedHere,
                    term.position.clone(),
                    format!(
                        "`{}` is for issues, pull requests and wiki pages, which cannot be \
                         searched here",
                        &self.input[term.position.clone()]
                    ),
                ));
            }
        };
        Ok(self.written(filter, &term.position))
    }

    fn written(&mut self, filter: Filter, position: &Range<usize>) -> Node {
        self.filters.push((filter.clone(), position.clone()));
        Node::Filter(filter)
    }

    fn repository(&mut self, term: &Term) -> Result<Node, QueryError> {
        self.refuse_predicate(term)?;
        let value = &term.value;
        let (name, revision) = match value.form {
            Form::Bare => match value.text.rsplit_once('@') {
                Some((name, revision)) => (name, Some(revision)),
                None => (value.text.as_str(), None),
            },
            _ => {
                let after = &self.input[value.position.end..term.position.end];
                (value.text.as_str(), after.split_once('@').map(|(_, revision)| revision))
            }
        };
        let mut parts = Vec::new();
        if !name.is_empty() {
            let filter = Filter::Repository(self.repository_name(name, term)?);
            parts.push(self.written(filter, &term.position));
        }
        if let Some(revision) = revision {
            parts.push(self.revisions(revision, Form::Bare, term)?);
        }
        Ok(match parts.len() {
            1 => parts.swap_remove(0),
            _ => Node::And(parts),
        })
    }

    fn repository_name(&mut self, name: &str, term: &Term) -> Result<NameMatch, QueryError> {
        let value = &term.value;
        let plain = |name: &str| match name.contains('/') {
            true => NameMatch::Exact(name.to_owned()),
            false => NameMatch::Substring(name.to_owned()),
        };
        self.warn_of_host(name, term);
        let regex = match value.form {
            Form::Quoted => return Ok(plain(name)),
            Form::Slashes => true,
            Form::Bare => name.contains(['^', '$', '\\', '|']),
        };
        if regex {
            let position = value.position.start..value.position.start + name.len();
            compile_source(name, Case::Insensitive, position)?;
            return Ok(NameMatch::Regex(name.to_owned()));
        }
        if !is_glob(name) {
            return Ok(plain(name));
        }
        if name.contains(".*") {
            self.alert_with(
                AlertCode::LooksLikeRegex,
                &value.position,
                format!("`{name}` is taken as a glob; a regular expression stands in slashes"),
                Some(&format!("/{}/", name.replace('/', "\\/"))),
            );
        }
        Ok(NameMatch::Glob(name.to_owned()))
    }

    /// Sourcegraph's names begin with the host; names here need not.
    fn warn_of_host(&mut self, name: &str, term: &Term) {
        let start = name.trim_start_matches('^').replace('\\', "");
        let host = ["github.com/", "gitlab.com/", "bitbucket.org/"]
            .into_iter()
            .find(|host| start.starts_with(host));
        if let Some(host) = host {
            let rest = start[host.len()..].trim_end_matches('$');
            let position = term.value.position.clone();
            self.alert_with(
                AlertCode::RepositoryHost,
                &position,
                format!("a repository's name has no `{host}` here unless it was added with it"),
                Some(rest),
            );
        }
    }

    /// One revision or several with `:` between, of which one is enough.
    fn revisions(&mut self, text: &str, form: Form, term: &Term) -> Result<Node, QueryError> {
        if form == Form::Slashes || text.starts_with('^') || text.is_empty() {
            return Err(no_revision(term));
        }
        let mut nodes = Vec::new();
        for name in text.split(':').filter(|name| !name.is_empty()) {
            let name = name
                .strip_prefix("refs/heads/")
                .or_else(|| name.strip_prefix("refs/tags/"))
                .unwrap_or(name);
            let name = match form {
                Form::Bare if is_glob(name) => NameMatch::Glob(name.to_owned()),
                _ => NameMatch::Exact(name.to_owned()),
            };
            nodes.push(self.written(Filter::Revision(name), &term.position));
        }
        match nodes.len() {
            0 => Err(no_revision(term)),
            1 => Ok(nodes.swap_remove(0)),
            _ => Ok(Node::Or(nodes)),
        }
    }

    fn organisation(&self, term: &Term) -> Result<Filter, QueryError> {
        let name = &term.value.text;
        if name.starts_with('@') {
            return Err(QueryError::new(
                ErrorCode::NotSupportedHere,
                term.value.position.clone(),
                format!("`{name}` is not known here; write the organisation's name"),
            ));
        }
        if term.value.form == Form::Slashes
            || name.is_empty()
            || name.contains(['/', '*', '^', '$'])
        {
            return Err(QueryError::new(
                ErrorCode::InvalidValue,
                term.value.position.clone(),
                "an organisation is the first segment of a repository's name, whole",
            )
            .with_rewrite(self.replaced(
                &term.position,
                &format!("repo:{}", &self.input[term.position.start..term.position.end]
                    .split_once(':')
                    .map_or("", |(_, value)| value)),
            )));
        }
        Ok(Filter::Organisation(name.clone()))
    }

    fn language(&self, term: &Term) -> Result<Filter, QueryError> {
        let name = &term.value.text;
        if let Some(canonical) = self.options.languages.canonical(name) {
            return Ok(Filter::Language(canonical));
        }
        let near = self.options.languages.nearest(name);
        let list: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
        let hint = match list.is_empty() {
            true => "names are those of GitHub's linguist".to_owned(),
            false => format!("did you mean {}?", list.join(", ")),
        };
        let error = QueryError::new(
            ErrorCode::UnknownLanguage,
            term.value.position.clone(),
            format!("there is no language `{name}`; {hint}"),
        );
        Err(match near.first() {
            Some(first) => {
                let value = match first.contains(char::is_whitespace) {
                    true => super::interpret::quote(first),
                    false => (*first).to_owned(),
                };
                error.with_rewrite(self.replaced(&term.position, &format!("lang:{value}")))
            }
            None => error,
        })
    }

    fn is(&self, term: &Term) -> Result<Filter, QueryError> {
        Ok(match term.value.text.to_ascii_lowercase().as_str() {
            "archived" => Filter::Archived(Inclusion::Only),
            "fork" => Filter::Fork(Inclusion::Only),
            "vendored" => Filter::Vendored,
            "generated" => Filter::Generated,
            "public" => Filter::Visibility(Visibility::Public),
            "private" => Filter::Visibility(Visibility::Private),
            value @ ("issue" | "pr" | "open" | "closed" | "merged" | "draft") => {
                return Err(QueryError::new(
                    ErrorCode::NotSupportedHere,
                    term.position.clone(),
                    format!(
                        "`is:{value}` is for issues and pull requests, which cannot be searched \
                         here; for files it is {IS}"
                    ),
                ));
            }
            _ => {
                return Err(QueryError::new(
                    ErrorCode::InvalidValue,
                    term.value.position.clone(),
                    format!("`is:` is {IS}"),
                ));
            }
        })
    }

    /// `yes`, `no` or `only`. GitHub's `true` means `only` for `archived:` and `yes` for `fork:`.
    fn inclusion(
        &self,
        term: &Term,
        place: Place,
        name: &str,
        meaning_of_true: &str,
    ) -> Result<Inclusion, QueryError> {
        let value = term.value.text.to_ascii_lowercase();
        Ok(match (value.as_str(), place.negated) {
            ("yes", false) => Inclusion::Yes,
            ("no", false) | ("yes" | "only", true) => Inclusion::No,
            ("only", false) | ("no", true) => Inclusion::Only,
            _ => {
                let error = QueryError::new(
                    ErrorCode::InvalidValue,
                    term.value.position.clone(),
                    format!("`{name}:` is `yes` (with the others), `no` or `only`"),
                );
                let instead = match value.as_str() {
                    "true" => meaning_of_true,
                    "false" => "no",
                    _ => return Err(error),
                };
                return Err(
                    error.with_rewrite(self.replaced(&term.position, &format!("{name}:{instead}")))
                );
            }
        })
    }

    fn license(&self, term: &Term) -> Result<Filter, QueryError> {
        let name = &term.value.text;
        let valid = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'));
        if !valid || name.is_empty() || term.value.form == Form::Slashes {
            return Err(QueryError::new(
                ErrorCode::InvalidValue,
                term.value.position.clone(),
                "`license:` is an SPDX identifier such as `MIT` or `Apache-2.0`",
            ));
        }
        Ok(Filter::License(name.clone()))
    }

    fn author(&self, term: &Term) -> Result<Filter, QueryError> {
        let name = &term.value.text;
        if name.starts_with('@') || term.value.form == Form::Slashes || name.is_empty() {
            return Err(QueryError::new(
                ErrorCode::InvalidValue,
                term.value.position.clone(),
                "`author:` is a part of the name or the address of the author of a file's last \
                 change, without `@` before it",
            ));
        }
        Ok(Filter::Author(name.clone()))
    }

    fn updated(
        &self,
        term: &Term,
        read: fn(&str, i64) -> Option<DateRange>,
    ) -> Result<Filter, QueryError> {
        read(&term.value.text, self.options.now_seconds()).map(Filter::Updated).ok_or_else(|| {
            QueryError::new(
                ErrorCode::InvalidValue,
                term.value.position.clone(),
                format!("`{}` is no date; write {}", term.value.text, dates::FORMS),
            )
        })
    }

    /// Refuses Sourcegraph's `repo:has.file(…)` and its like.
    pub fn refuse_predicate(&self, term: &Term) -> Result<(), QueryError> {
        if term.value.form != Form::Bare || !is_predicate(&term.value.text) {
            return Ok(());
        }
        Err(QueryError::new(
            ErrorCode::NotSupportedHere,
            term.position.clone(),
            "predicates such as `has.file(…)` are not supported; search for what the documents \
             themselves hold, with `path:`, `content:` or `select:repo`",
        ))
    }
}

fn no_revision(term: &Term) -> QueryError {
    QueryError::new(
        ErrorCode::InvalidValue,
        term.position.clone(),
        "a revision is the name of a branch or tag, or a glob with `*`",
    )
}
