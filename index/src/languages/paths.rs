//! What a path alone says: vendored, documentation, test.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use super::base_name;

static VENDORED: LazyLock<Option<Regex>> =
    LazyLock::new(|| any_of(include_str!("data/vendor.txt")));
static DOCUMENTATION: LazyLock<Option<Regex>> =
    LazyLock::new(|| any_of(include_str!("data/documentation.txt")));

/// One expression that matches where any line of `patterns` does.
fn any_of(patterns: &str) -> Option<Regex> {
    let alternatives: Vec<String> = patterns
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| format!("(?:{line})"))
        .collect();
    RegexBuilder::new(&alternatives.join("|")).unicode(false).build().ok()
}

fn matches(regex: &Option<Regex>, path: &[u8]) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(path))
}

/// Whether `path` is somebody else's code, kept in the repository: linguist's `vendor.yml`.
#[must_use]
pub fn is_vendored(path: &[u8]) -> bool {
    matches(&VENDORED, path)
}

/// Whether `path` is documentation: linguist's `documentation.yml`.
#[must_use]
pub fn is_documentation(path: &[u8]) -> bool {
    matches(&DOCUMENTATION, path)
}

/// Folders whose files are tests, in lower case.
const TEST_FOLDERS: [&[u8]; 16] = [
    b"test",
    b"tests",
    b"__tests__",
    b"spec",
    b"specs",
    b"testing",
    b"testsuite",
    b"testsuites",
    b"selftest",
    b"selftests",
    b"unittest",
    b"unittests",
    b"e2e",
    b"testdata",
    b"__mocks__",
    b"__snapshots__",
];
/// Ends of folder names that mean the same, as in `Server.Tests/` and `http-tests/`.
const TEST_FOLDER_ENDS: [&[u8]; 8] = [
    b".test",
    b".tests",
    b"-test",
    b"-tests",
    b"_test",
    b"_tests",
    b".unittests",
    b".integrationtests",
];
/// Ends of a file's name before its extension, in lower case.
const TEST_ENDS: [&[u8]; 10] = [
    b"_test",
    b"_tests",
    b"-test",
    b"-tests",
    b".test",
    b".tests",
    b"_spec",
    b".spec",
    b"-spec",
    b"_unittest",
];
/// Ends of a class's name, for languages that name a file like its class.
const TEST_CLASS_ENDS: [&[u8]; 5] = [b"Test", b"Tests", b"TestCase", b"Spec", b"IT"];
/// Extensions of these languages.
const CLASS_EXTENSIONS: [&[u8]; 9] =
    [b"java", b"kt", b"kts", b"scala", b"groovy", b"cs", b"swift", b"php", b"vb"];

/// Whether `path` is a test by the conventions of its language: a folder such as `tests/` or
/// `src/test/`, a name such as `test_x.py`, `x_test.go`, `x.spec.ts` or `XTest.java`.
#[must_use]
pub fn is_test(path: &[u8]) -> bool {
    let name = base_name(path);
    let folders = &path[..path.len() - name.len()];
    folders.split(|&byte| byte == b'/').any(is_test_folder) || is_test_name(name)
}

fn is_test_folder(folder: &[u8]) -> bool {
    TEST_FOLDERS.iter().any(|known| folder.eq_ignore_ascii_case(known))
        || TEST_FOLDER_ENDS.iter().any(|end| ends_with(folder, end))
}

fn is_test_name(name: &[u8]) -> bool {
    let (stem, extension) = match memchr::memrchr(b'.', name) {
        Some(dot) => (&name[..dot], &name[dot + 1..]),
        None => (name, &b""[..]),
    };
    if extension.is_empty() || stem.is_empty() {
        return false;
    }
    if TEST_ENDS.iter().any(|end| ends_with(stem, end)) || starts_with(stem, b"test_") {
        return true;
    }
    match extension {
        b"py" => matches!(stem, b"conftest" | b"tests" | b"test"),
        b"rs" => matches!(stem, b"tests" | b"test"),
        b"t" => true,
        _ if CLASS_EXTENSIONS.contains(&extension) => is_test_class(stem),
        _ => false,
    }
}

/// `FooTest` and `TestFoo`, but not `Latest` or `Testament`.
fn is_test_class(stem: &[u8]) -> bool {
    let ends = TEST_CLASS_ENDS.iter().any(|end| {
        stem.strip_suffix(*end)
            .and_then(|rest| rest.last())
            .is_some_and(|last| last.is_ascii_lowercase() || last.is_ascii_digit())
    });
    let starts = stem
        .strip_prefix(b"Test")
        .and_then(|rest| rest.first())
        .is_some_and(u8::is_ascii_uppercase);
    ends || starts
}

fn ends_with(name: &[u8], end: &[u8]) -> bool {
    name.len() > end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end)
}

fn starts_with(name: &[u8], start: &[u8]) -> bool {
    name.len() > start.len() && name[..start.len()].eq_ignore_ascii_case(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_patterns_compile() {
        assert!(VENDORED.is_some());
        assert!(DOCUMENTATION.is_some());
    }

    #[test]
    fn vendored() {
        for path in [
            "node_modules/x/index.js",
            "a/vendor/b.go",
            "jquery-3.1.0.min.js",
            "third_party/z.c",
            "types/index.d.ts",
            "configure",
        ] {
            assert!(is_vendored(path.as_bytes()), "{path}");
        }
        for path in ["src/main.rs", "invendor/a.c", "lib/jquerylike.rs"] {
            assert!(!is_vendored(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn documentation() {
        for path in ["docs/a.md", "README.md", "x/LICENSE", "Documentation/process/1.rst"] {
            assert!(is_documentation(path.as_bytes()), "{path}");
        }
        assert!(!is_documentation(b"src/docs.rs"));
    }

    #[test]
    fn tests_by_folder_and_by_name() {
        for path in [
            "tests/a.rs",
            "src/test/java/A.java",
            "pkg/server_test.go",
            "test_views.py",
            "a/conftest.py",
            "ui/button.spec.ts",
            "ui/button.test.tsx",
            "FooTest.java",
            "TestFoo.java",
            "FooTests.cs",
            "spec/models/user_spec.rb",
            "tools/testing/selftests/x.c",
            "Core.Tests/Program.cs",
            "FooIT.java",
            "src/parser/tests.rs",
            "CartSpec.scala",
        ] {
            assert!(is_test(path.as_bytes()), "{path}");
        }
        for path in [
            "src/latest.rs",
            "Latest.java",
            "contest.py",
            "attestation/a.go",
            "src/test",
            "Testament.java",
            "test.c.md",
            "Audit.java",
            "EXIT.java",
        ] {
            assert!(!is_test(path.as_bytes()), "{path}");
        }
    }
}
