//! Random repositories, changes of them, and queries that have to do with them.

use aeterna_index::languages::Language;
use aeterna_index::{FileEntry, FileKind, RepositoryUpdate, RevisionChange};

use crate::support::{Random, file, info, repository_id};
use crate::world::{Branch, Doc, Files, Repo, World, difference, replace_with};

const WORDS: [&str; 56] = [
    "foo",
    "Foo",
    "FOO",
    "fooBar",
    "foobarfoo",
    "bar",
    "mutex_lock",
    "spin_unlock",
    "fn main",
    "let x = 1;",
    "return",
    "Straße",
    "STRASSE",
    "straſe",
    "ß",
    "ẞ",
    "İstanbul",
    "istanbul",
    "ısı",
    "ISI",
    "ſ",
    "s",
    "S",
    "K",
    "k",
    "\u{212a}",
    "\u{212a}elvin",
    "kelvin",
    "Σίσυφος",
    "ΣΊΣΥΦΟΣ",
    "ς",
    "σ",
    "é",
    "É",
    "e\u{301}",
    "Жук",
    "жук",
    "Привет",
    "日本語",
    "😀",
    "a/b",
    "x\ty",
    "\"quoted\"",
    "\\back",
    "__init__",
    "0x1F",
    "aaa",
    "aaaa",
    "aab",
    "ab",
    "ba",
    "(x)",
    "[y]",
    "a.b",
    "a*b",
    "ﬁn",
];
const PATHS: [&str; 24] = [
    "src/main.rs",
    "src/lib.rs",
    "src/foo/mod.rs",
    "src/Foo.java",
    "lib/foo.py",
    "README.md",
    "docs/guide.md",
    "vendor/dep/a.go",
    "node_modules/x/index.js",
    "tests/foo_test.go",
    "a",
    "b.c",
    "include/b.h",
    "weiß/Straße.txt",
    "Привет.rb",
    "new\nline.txt",
    "sp ace.txt",
    "x/y/z/deep.ts",
    "Makefile",
    "foo.min.js",
    "gen/foo.pb.go",
    "aaa/aab",
    "\u{212a}elvin.rs",
    "empty",
];
const BRANCHES: [&str; 4] = ["main", "dev", "release/1.0", "v2"];

fn line(random: &mut Random, into: &mut Vec<u8>) {
    for number in 0..random.below(7) {
        if number > 0 && !random.once_in(5) {
            into.push(b' ');
        }
        into.extend_from_slice(random.pick(&WORDS).as_bytes());
        if random.once_in(60) {
            into.extend_from_slice(random.pick::<&[u8]>(&[
                b"\xff",
                b"\xe9",
                b"\xc3",
                b"\xf0\x9f\x98",
            ]));
        }
    }
}

fn lines(random: &mut Random, count: usize) -> Vec<u8> {
    let ends: &[&[u8]] = match random.below(5) {
        0 => &[b"\r\n"],
        1 => &[b"\n", b"\r\n", b"\r", b"\n\n"],
        _ => &[b"\n"],
    };
    let mut text = Vec::new();
    for _ in 0..count {
        line(random, &mut text);
        text.extend_from_slice(random.pick(ends));
    }
    if random.once_in(3) {
        line(random, &mut text);
    }
    text
}

fn utf16(random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(&lines(random, 5)).into_owned();
    let big = random.once_in(2);
    let mut bytes = if big { vec![0xfe, 0xff] } else { vec![0xff, 0xfe] };
    for unit in text.encode_utf16() {
        bytes.extend(if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
    }
    bytes
}

/// One line over several units, with words about the places where units end.
fn long_line(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    let units = 1 + random.below(3);
    for unit in 1..=units {
        let near = (unit << 16) - 24 + random.below(24);
        let filler = random.pick(&["ab", "é", "foo ", "x"]).as_bytes();
        while text.len() + filler.len() <= near {
            text.extend_from_slice(filler);
        }
        for _ in 0..6 {
            text.extend_from_slice(random.pick(&WORDS).as_bytes());
        }
    }
    if random.once_in(2) {
        text.push(b'\n');
        text.extend(lines(random, 5));
    }
    text
}

fn noise(random: &mut Random) -> Vec<u8> {
    let mut text = lines(random, 3);
    text.extend((0..70_000).map(|_| random.below(255) as u8 + 1));
    text.extend(lines(random, 3));
    text
}

fn content(random: &mut Random, large: bool) -> Vec<u8> {
    if large && random.once_in(4) {
        return match random.below(4) {
            0 => noise(random),
            1 => long_line(random),
            _ => {
                let count = 3_000 + random.below(6_000);
                lines(random, count)
            }
        };
    }
    match random.below(16) {
        0 => Vec::new(),
        1 => {
            random.pick::<&[u8]>(&[b"\n", b"a", b"\r\n", b"foo\n\n\n", b"\xff\xff", b"\r"]).to_vec()
        }
        2 => utf16(random),
        3 => [b"\x7fELF foo\0", &lines(random, 2)[..]].concat(),
        _ => {
            let count = random.below(25);
            lines(random, count)
        }
    }
}

fn path(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => [b"odd/\xff\xe9", random.pick(&WORDS[..8]).as_bytes()].concat(),
        1 => format!("many/dir{}/{}", random.below(3), random.below(90)).into_bytes(),
        _ => random.pick(&PATHS).as_bytes().to_vec(),
    }
}

fn entry(random: &mut Random, world: &World, known: &[FileEntry], large: bool) -> FileEntry {
    let content = match known.get(random.below(known.len() * 3)) {
        Some(other) => other.content,
        None => world.source.put(&content(random, large)),
    };
    let mut entry = file(path(random), content);
    match random.below(24) {
        0 => entry.kind = FileKind::Symlink,
        1 => entry.kind = FileKind::Submodule,
        2 => entry.attributes.vendored = Some(random.once_in(2)),
        3 => entry.attributes.generated = Some(random.once_in(2)),
        4 => entry.attributes.language = Language::from_name(random.pick(&["Rust", "Perl", "C++"])),
        _ => {}
    }
    entry
}

fn add_files(random: &mut Random, world: &World, files: &mut Files, count: usize, large: bool) {
    for _ in 0..count {
        let known: Vec<FileEntry> = files.values().cloned().collect();
        let entry = entry(random, world, &known, large);
        files.insert(entry.path.clone(), entry);
    }
}

/// A few repositories with a few branches that share most of their files.
pub fn world(random: &mut Random, large: bool) -> World {
    let repositories = 2 + random.below(3);
    world_of(random, repositories, large)
}

/// With so many repositories.
pub fn world_of(random: &mut Random, repositories: usize, large: bool) -> World {
    let mut world = World::default();
    for number in 0..repositories as u128 {
        add_repository(random, &mut world, number, large);
    }
    world
}

fn add_repository(random: &mut Random, world: &mut World, number: u128, large: bool) {
    let name =
        ["acme/foo", "acme/Bar", "zeta/foo-bar", "solo/x", "ACME/other"][number as usize % 5];
    let mut info = info(number + 1, &format!("{name}{}", "-n".repeat(number as usize / 5)));
    info.fork = random.once_in(3);
    info.archived = random.once_in(3);
    info.public = !random.once_in(3);
    info.license = random.once_in(2).then(|| "MIT".to_owned());
    let mut repo = Repo { info, branches: Default::default() };
    let mut files = Files::new();
    for name in &BRANCHES[..1 + random.below(3)] {
        let count = 2 + random.below(12);
        add_files(random, world, &mut files, count, large);
        let branch = Branch { commit: world.next_commit(), files: files.clone() };
        repo.branches.insert((*name).to_owned(), branch);
    }
    world.repos.insert(repo.info.id, repo);
}

/// What happens to the index.
pub enum Step {
    Apply(RepositoryUpdate),
    RemoveRepository(aeterna_index::RepositoryId),
    SetRepository(aeterna_index::RepositoryInfo),
}

/// Changes the world, and tells what the index must be told.
pub fn step(random: &mut Random, world: &mut World) -> Step {
    let ids: Vec<_> = world.repos.keys().copied().collect();
    if ids.len() < 2 || random.once_in(12) {
        let number = (0..).find(|number| !ids.contains(&repository_id(number + 1))).unwrap();
        add_repository(random, world, number, false);
        let repo = &world.repos[&repository_id(number + 1)];
        let revisions = repo.branches.iter().map(|(name, branch)| replace_with(name, branch));
        return Step::Apply(RepositoryUpdate {
            repository: repo.info.clone(),
            revisions: revisions.collect(),
        });
    }
    let id = random.pick(&ids);
    if random.once_in(12) {
        world.repos.remove(&id);
        return Step::RemoveRepository(id);
    }
    let mut repo = world.repos[&id].clone();
    if random.once_in(10) {
        repo.info.archived = !repo.info.archived;
        repo.info.name = format!("{}{}", repo.info.name, random.below(3));
        world.repos.insert(id, repo.clone());
        return Step::SetRepository(repo.info);
    }
    let mut revisions = Vec::new();
    for name in BRANCHES {
        if random.once_in(2) {
            revisions.extend(change_branch(random, world, &mut repo, name.to_owned()));
        }
    }
    let update = RepositoryUpdate { repository: repo.info.clone(), revisions };
    world.repos.insert(id, repo);
    Step::Apply(update)
}

fn change_branch(
    random: &mut Random,
    world: &mut World,
    repo: &mut Repo,
    name: String,
) -> Option<RevisionChange> {
    let commit = world.next_commit();
    let Some(before) = repo.branches.get(&name).cloned() else {
        // A new branch starts from another one.
        let other = repo.branches.values().next().cloned().unwrap_or_default();
        let mut branch = Branch { commit, files: other.files };
        add_files(random, world, &mut branch.files, 2, false);
        let change = replace_with(&name, &branch);
        repo.branches.insert(name, branch);
        return Some(change);
    };
    if random.once_in(8) {
        repo.branches.remove(&name);
        return Some(RevisionChange::Remove { name });
    }
    let mut after = Branch { commit, ..before.clone() };
    if random.once_in(8) {
        // A force-push to something else.
        after.files.clear();
    }
    let paths: Vec<Vec<u8>> = after.files.keys().cloned().collect();
    for path in paths {
        if random.once_in(6) {
            after.files.remove(&path);
        }
    }
    let count = random.below(4);
    add_files(random, world, &mut after.files, count, false);
    let change = match random.once_in(4) {
        true => replace_with(&name, &after),
        false => difference(&name, &before, &after),
    };
    repo.branches.insert(name, after);
    Some(change)
}

/// Makes queries about some documents.
pub struct Queries<'a> {
    pub random: &'a mut Random,
    pub docs: &'a [Doc],
}

impl Queries<'_> {
    /// A short text out of some document, or one that may be nowhere.
    fn fragment(&mut self) -> String {
        let words = || WORDS;
        let mut text = match self.random.below(6) {
            0 => words()[self.random.below(WORDS.len())].to_owned(),
            1 => "qzx".to_owned(),
            _ => self.slice().unwrap_or_else(|| "foo".to_owned()),
        };
        match self.random.below(8) {
            0 => text = text.to_uppercase(),
            1 => text = text.to_lowercase(),
            2 if text.chars().count() > 2 => drop(text.remove(0)),
            _ => {}
        }
        text
    }

    fn slice(&mut self) -> Option<String> {
        let doc = self.docs.get(self.random.below(self.docs.len()))?;
        let text = doc.text.as_ref().filter(|text| !text.is_empty())?;
        let start = self.random.below(text.len());
        let end = text.len().min(start + 60);
        let near = String::from_utf8_lossy(&text[start..end]).into_owned();
        let chars = near.chars().filter(|c| *c != '\u{fffd}' && !c.is_control());
        let length = 1 + self.random.below(9);
        Some(chars.take(length).collect::<String>()).filter(|slice| !slice.trim().is_empty())
    }

    fn escaped(&mut self) -> String {
        regex::escape(&self.fragment()).replace('/', "\\/")
    }

    fn regex(&mut self) -> String {
        let (a, b) = (self.escaped(), self.escaped());
        match self.random.below(34) {
            0 => format!("{a}.*{b}"),
            1 => format!("^{a}"),
            2 => format!("{a}$"),
            3 => format!("{a}|{b}"),
            4 => format!("({a}|{b}|zzz)+"),
            5 => format!(r"\b{a}\b"),
            6 => format!(r"{a}\s+{b}"),
            7 => format!(r"{a}\n"),
            8 => format!(r"\n{a}"),
            9 => format!(r"(?s){a}.{{0,40}}{b}"),
            10 => format!(r"\A{a}"),
            11 => format!(r"{a}\z"),
            12 => "x*".to_owned(),
            13 => "^".to_owned(),
            14 => "$".to_owned(),
            15 => "^$".to_owned(),
            16 => r"(?-u:\xff)".to_owned(),
            17 => r"é?É".to_owned(),
            18 => r"\w{5,}".to_owned(),
            19 => format!("[a-f]{{2}}{a}"),
            20 => format!("(?i){a}"),
            21 => format!("(?:{a})?{b}"),
            22 => format!(r"{a}[^a-z]{b}"),
            23 => r"\r\n".to_owned(),
            24 => r"\r$".to_owned(),
            25 => r"[[:upper:]]{2,}".to_owned(),
            26 => r"\p{Greek}+|\p{Cyrillic}".to_owned(),
            27 => format!("(?:{a}){{2}}"),
            28 => r"\d+x|aa+".to_owned(),
            29 => r"\B".to_owned(),
            30 => r"[^\n]{300}".to_owned(),
            31 => format!(r"{a}(?:\r?\n|$){b}?"),
            32 => r"(?m)\s$".to_owned(),
            _ => format!(r"(?-m)^{a}"),
        }
    }

    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }

    fn pattern(&mut self) -> String {
        match self.random.below(10) {
            0..=3 => Self::quoted(&self.fragment()),
            4..=7 => format!("/{}/", self.regex()),
            8 => format!("content:{}", Self::quoted(&self.fragment())),
            _ => format!("content:/{}/", self.regex()),
        }
    }

    fn filter(&mut self) -> String {
        let fixed = [
            "repo:acme/foo",
            "repo:foo",
            "repo:acme/*",
            "repo:/^z/",
            "org:acme",
            "lang:rust",
            "lang:go",
            "lang:python",
            "lang:c++",
            "lang:markdown",
            "path:src",
            "path:*.rs",
            "path:/src/**",
            "path:/lib",
            "path:**/foo*",
            "file:foo",
            "file:\\.(rs|go)$",
            "rev:main",
            "rev:dev",
            "rev:release*",
            "rev:HEAD",
            "rev:nowhere",
            "archived:no",
            "archived:only",
            "fork:no",
            "fork:only",
            "is:vendored",
            "is:generated",
            "is:public",
            "is:private",
            "license:mit",
            "path:\"new\"",
            "file:/(?s)new.line/",
            "path:/aaa/",
            "repo:nothing/at",
            "file:^[a-z]$",
            "path:дом",
            "path:ПРИВЕТ",
            "path:straße",
            "file:/(?-u:\\xff)/",
        ];
        self.random.pick(&fixed).to_owned()
    }

    fn term(&mut self, depth: usize) -> String {
        let term = match self.random.below(10) {
            0..=5 => self.pattern(),
            6..=7 => self.filter(),
            _ if depth == 0 => self.pattern(),
            _ => format!("({})", self.expression(depth - 1)),
        };
        let takes_not = !term.starts_with("archived") && !term.starts_with("fork");
        if takes_not && self.random.once_in(5) { format!("-{term}") } else { term }
    }

    fn expression(&mut self, depth: usize) -> String {
        let count = [1, 1, 1, 2, 2, 3][self.random.below(6)];
        let joint = self.random.pick(&[" ", " ", " ", " OR ", " AND "]);
        let terms: Vec<String> = (0..count).map(|_| self.term(depth)).collect();
        terms.join(joint)
    }

    /// A query without `count:`.
    pub fn query(&mut self) -> String {
        let mut query = self.expression(2);
        match self.random.below(8) {
            0 => query.push_str(" case:yes"),
            1 => query.push_str(" case:auto"),
            2 => query.push_str(" type:path"),
            3 => query.push_str(" select:content"),
            _ => {}
        }
        query
    }
}
