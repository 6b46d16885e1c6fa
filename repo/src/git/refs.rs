//! What a remote's refs were at its last fetch, and which of them are indexed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::hash::ObjectId;

const HEADS: &[u8] = b"refs/heads/";
const TAGS: &[u8] = b"refs/tags/";
/// Name under which a HEAD that is on no branch is indexed.
pub const DETACHED_HEAD: &str = "HEAD";
/// Where a mirror keeps the commit of a HEAD that is on no branch, or on one that was not fetched.
pub(crate) const HEAD_REF: &str = "refs/aeterna/HEAD";

/// A remote's branches, tags and HEAD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefSnapshot {
    /// Full name of the branch that HEAD is on, born or not.
    pub head_branch: Option<BString>,
    /// What HEAD points to; `None` for an empty repository.
    pub head: Option<ObjectId>,
    /// Branches and tags by full name. A tag object is not followed.
    pub refs: BTreeMap<BString, ObjectId>,
}

/// A branch or tag to index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Name in the index.
    pub name: String,
    /// What it points to: a commit, or a tag object.
    pub target: ObjectId,
}

impl RefSnapshot {
    /// Name of the default branch without `refs/heads/`; `None` for an empty repository and a
    /// HEAD that is on no branch.
    pub fn default_branch(&self) -> Option<String> {
        self.head?;
        let name = self.head_branch.as_ref()?.strip_prefix(HEADS)?;
        Some(name.to_str_lossy().into_owned())
    }

    /// Whether a name is one that a mirror keeps: a branch or tag without anything strange in it.
    pub(crate) fn keeps(name: &BStr) -> bool {
        (name.starts_with(HEADS) || name.starts_with(TAGS))
            && gix::validate::reference::name(name).is_ok()
    }

    /// The branches and tags that `globs` select, the default branch alone where there are none,
    /// by name. A tag gets `tags/` before its name where a selected branch has the same one.
    pub fn select(&self, globs: &[String]) -> Vec<Selected> {
        let mut names: BTreeMap<String, ObjectId> = BTreeMap::new();
        let selector = Selector::new(globs);
        if let Some(head) = self.head
            && selector.wants_head()
        {
            let name = self.default_branch().unwrap_or_else(|| DETACHED_HEAD.to_owned());
            names.insert(name, head);
        }
        let (branches, tags): (Vec<_>, Vec<_>) =
            self.refs.iter().partition(|(name, _)| name.starts_with(HEADS));
        for (name, target) in branches {
            let short = &name[HEADS.len()..];
            if selector.wants_branch(short.as_bstr()) {
                names.insert(short.to_str_lossy().into_owned(), *target);
            }
        }
        for (name, target) in tags {
            let short = &name[TAGS.len()..];
            if selector.wants_tag(short.as_bstr()) {
                let mut short = short.to_str_lossy().into_owned();
                if names.contains_key(&short) {
                    short.insert_str(0, "tags/");
                }
                names.insert(short, *target);
            }
        }
        names.into_iter().map(|(name, target)| Selected { name, target }).collect()
    }

    /// The text of a `packed-refs` file with these refs.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let mut text = b"# pack-refs with: sorted \n".to_vec();
        let own = self.head.map(|head| (BString::from(HEAD_REF), head));
        let all: BTreeMap<_, _> =
            self.refs.iter().map(|(name, id)| (name.clone(), *id)).chain(own).collect();
        for (name, id) in all {
            let mut line = String::new();
            // Writing to a string cannot fail.
            let _ = write!(line, "{id} ");
            text.extend_from_slice(line.as_bytes());
            text.extend_from_slice(&name);
            text.push(b'\n');
        }
        text
    }

    /// Reads what [`RefSnapshot::packed`] and a `HEAD` file hold.
    pub(crate) fn parse(packed: &[u8], head: &[u8]) -> Self {
        let mut snapshot = Self::default();
        let lines =
            packed.lines().filter(|line| !line.starts_with(b"#") && !line.starts_with(b"^"));
        for line in lines {
            let Some((id, name)) = line.split_once_str(" ") else { continue };
            let Ok(id) = ObjectId::from_hex(id) else { continue };
            if name == HEAD_REF.as_bytes() {
                snapshot.head = Some(id);
            } else {
                snapshot.refs.insert(name.into(), id);
            }
        }
        snapshot.head_branch = head.trim().strip_prefix(b"ref: ").map(BString::from);
        snapshot
    }
}

/// The globs of a repository.
///
/// A glob matches branches; one that starts with `tags/` or `refs/tags/` matches tags; `HEAD` is
/// the default branch; `!` before a glob takes away what it matches. `*` also matches `/`.
pub struct Selector<'g> {
    globs: Vec<(bool, &'g str)>,
}

impl<'g> Selector<'g> {
    /// From the globs of a repository; none select the default branch.
    pub fn new(globs: &'g [String]) -> Self {
        let globs = globs.iter().map(|glob| match glob.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, glob.as_str()),
        });
        Self { globs: globs.collect() }
    }

    fn decide(&self, matches: impl Fn(&str) -> bool) -> bool {
        let last = self.globs.iter().rev().find(|(_, glob)| matches(glob));
        last.is_some_and(|(wanted, _)| *wanted)
    }

    /// Whether the default branch is wanted, whatever its name.
    pub fn wants_head(&self) -> bool {
        self.globs.is_empty() || self.decide(|glob| glob == "HEAD")
    }

    /// Whether a branch is wanted.
    pub fn wants_branch(&self, name: &BStr) -> bool {
        self.decide(|glob| {
            let glob = glob.strip_prefix("refs/heads/").unwrap_or(glob);
            glob != "HEAD" && tag_glob(glob).is_none() && matches_glob(glob, name)
        })
    }

    /// Whether a tag is wanted.
    pub fn wants_tag(&self, name: &BStr) -> bool {
        self.decide(|glob| tag_glob(glob).is_some_and(|glob| matches_glob(glob, name)))
    }

    /// Refspecs that fetch at least what is wanted, and HEAD.
    pub(crate) fn refspecs(&self) -> Vec<String> {
        let mut specs = vec!["HEAD".to_owned()];
        for (_, glob) in self.globs.iter().filter(|(wanted, glob)| *wanted && *glob != "HEAD") {
            let (folder, pattern) = match tag_glob(glob) {
                Some(pattern) => ("refs/tags/", pattern),
                None => ("refs/heads/", glob.strip_prefix("refs/heads/").unwrap_or(glob)),
            };
            let name = format!("{folder}{pattern}");
            let example = name.replacen('*', "x", 1);
            // A refspec takes one star; whatever else a glob can say is filtered afterwards.
            let spec = match gix::validate::reference::name(example.as_str().into()) {
                Ok(_) => format!("+{name}:{name}"),
                Err(_) => format!("+{folder}*:{folder}*"),
            };
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        specs
    }
}

fn tag_glob(glob: &str) -> Option<&str> {
    glob.strip_prefix("refs/tags/").or_else(|| glob.strip_prefix("tags/"))
}

fn matches_glob(glob: &str, name: &BStr) -> bool {
    gix::glob::wildmatch(glob.into(), name, gix::glob::wildmatch::Mode::empty())
}

/// What is wrong with a glob as typed, if anything is.
pub fn check_glob(glob: &str) -> Result<(), &'static str> {
    let pattern = glob.strip_prefix('!').unwrap_or(glob);
    if pattern.is_empty() {
        return Err("it is empty");
    }
    if pattern.len() > 256 {
        return Err("it is longer than 256 bytes");
    }
    if pattern.chars().any(|c| c.is_control() || c == ' ') {
        return Err("it holds a control character or a space");
    }
    if pattern.starts_with('-') {
        return Err("it starts with a dash");
    }
    Ok(())
}
