#!/usr/bin/env python3
"""Checks that every pair is answerable, and how many documents compete.

Usage: check.py REPOSITORIES_DIR [--verbose]

For each pair, scans every text file of every recorded commit as the query
language defines it (each word a literal in content or path, case-insensitive,
all in one document) and fails when a wanted document is missing or does not
match. `sym:` is checked as "the name occurs in the content". Needs git only.
"""

import pathlib
import re
import subprocess
import sys

import query

LANGUAGES = {
    "rust": {"rs"}, "go": {"go"}, "python": {"py"}, "java": {"java"}, "ruby": {"rb"}, "php": {"php"},
    "javascript": {"js", "cjs", "mjs"}, "typescript": {"ts"}, "c": {"c", "h"}, "c++": {"cpp", "hpp", "cc", "hh"},
    "jq": {"jq"},
}
KINDS = {"symbol", "phrase", "path", "concept", "regex", "filtered"}


class Content(str):
    """A document's text that keeps its lower-case form."""

    def __new__(cls, text):
        made = super().__new__(cls, text)
        made.lowered = text.lower()
        return made


def documents(directory):
    """(repository, path, content) of every text file at the recorded commits."""
    for name, commit in query.repositories().items():
        git = ["git", "-C", str(directory / f"{name}.git")]
        listing = subprocess.run([*git, "ls-tree", "-r", "-z", commit], check=True, capture_output=True).stdout
        entries = [line.split(b"\t", 1) for line in listing.split(b"\0") if line]
        blobs = [(meta.split()[2], path) for meta, path in entries if meta.split()[0] in (b"100644", b"100755")]
        batch = subprocess.run([*git, "cat-file", "--batch"], check=True, capture_output=True,
                               input=b"".join(oid + b"\n" for oid, _ in blobs)).stdout
        position = 0
        for _, path in blobs:
            end = batch.index(b"\n", position)
            header, position = batch[position:end].split(), end + 1
            if header[1] == b"missing":
                continue
            size = int(header[2])
            content, position = batch[position:position + size], position + size + 1
            if b"\0" not in content[:8000]:
                yield name, path.decode("utf-8", "replace"), Content(content.decode("utf-8", "replace"))


def matcher(term, sensitive):
    """A predicate (repository, path, content) -> bool for one term."""
    flags = re.MULTILINE | (0 if sensitive else re.IGNORECASE)
    if term.kind == "repo":
        return lambda repository, path, content: repository == term.value or (
            "/" not in term.value and term.value.lower() in repository.lower())
    if term.kind == "lang":
        extensions = LANGUAGES[term.value.lower()]
        return lambda repository, path, content: path.rsplit(".", 1)[-1] in extensions
    pattern = term.value if term.is_regex else re.escape(term.value)
    if term.kind == "path" and not term.is_regex:
        if any(char in term.value for char in "*?"):
            raise ValueError("globs are not used in this set")
        pattern = "^" + re.escape(term.value[1:]) if term.value.startswith("/") else pattern
    if term.kind == "sym" and not term.is_regex:
        pattern = re.escape(re.split(r"::|\.", term.value)[-1])
    regex = re.compile(pattern, flags)
    if term.kind == "path":
        return lambda repository, path, content: regex.search(path) is not None
    if term.kind == "sym":
        return lambda repository, path, content: regex.search(content) is not None
    if term.kind == "word" and not sensitive:
        # Much faster than a regex; the same for the ASCII words of this set.
        word = term.value.lower()
        return lambda repository, path, content: word in content.lowered or word in path.lower()
    return lambda repository, path, content: (regex.search(path) or regex.search(content)) is not None


def compiled(text):
    terms = query.parse(text)
    sensitive = any(term.kind == "case" and term.value == "yes" for term in terms)
    rank = {"repo": 0, "lang": 1, "path": 2}
    terms = sorted((term for term in terms if term.kind != "case"), key=lambda term: rank.get(term.kind, 3))
    return [(matcher(term, sensitive), term.negated) for term in terms]


def form_errors(pair, expected_id):
    errors = []
    if pair["id"] != expected_id:
        errors.append(f"the id is {pair['id']}, expected {expected_id}")
    if pair["split"] != ("held-out" if expected_id % 2 == 0 else "tune"):
        errors.append("every second pair is held out")
    if pair["kind"] not in KINDS:
        errors.append(f"unknown kind {pair['kind']}")
    if not 1 <= len(pair["wants"]) <= 3:
        errors.append("one to three wanted documents")
    return errors


def main():
    directory, verbose = pathlib.Path(sys.argv[1]), "--verbose" in sys.argv
    pairs = query.pairs()
    corpus = list(documents(directory))
    present = {(repository, path) for repository, path, _ in corpus}
    failures, spread = 0, {"1": 0, "2-5": 0, "6-20": 0, "21-100": 0, "over 100": 0}
    seen = set()
    for number, pair in enumerate(pairs, start=1):
        errors = form_errors(pair, number)
        if pair["query"].lower() in seen:
            errors.append("the query is there twice")
        seen.add(pair["query"].lower())
        tests = compiled(pair["query"])
        found = {(r, p) for r, p, c in corpus if all(test(r, p, c) != negated for test, negated in tests)}
        for want in pair["wants"]:
            key = (want["repository"], want["path"])
            if key not in present:
                errors.append(f"{key} does not exist")
            elif key not in found:
                errors.append(f"{key} does not match the query")
        count = len(found)
        bucket = "1" if count <= 1 else "2-5" if count <= 5 else "6-20" if count <= 20 \
            else "21-100" if count <= 100 else "over 100"
        spread[bucket] += 1
        if verbose:
            print(f"{pair['id']:4} {count:5} {pair['query']}")
        for error in errors:
            failures += 1
            print(f"pair {pair['id']} ({pair['query']}): {error}", file=sys.stderr)
    print(f"{len(pairs)} pairs over {len(query.repositories())} repositories, {len(corpus)} text files")
    print("documents that match, by number of queries:", spread)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
