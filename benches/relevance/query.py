"""The part of the query language that the pairs use, as a list of terms.

Words, quoted phrases and /regexes/ that are ANDed, each of them optionally
negated, and the qualifiers repo, path, lang, sym, case. Anything else is an
error, so that a pair cannot silently mean something else to a runner.
"""

import json
import pathlib
import re
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
PAIRS = HERE / "pairs.jsonl"
REPOSITORIES = HERE / "repositories.json"

QUALIFIERS = {
    "repo": "repo", "r": "repo",
    "path": "path",
    "lang": "lang", "language": "lang", "l": "lang",
    "sym": "sym", "symbol": "sym",
    "case": "case",
}
BOOLEANS = {"AND", "OR", "NOT"}
# The second batch was written after the first was measured, to be harder; see README.md.
BATCHES = {"first": range(1, 151), "second": range(151, 201)}


@dataclass(frozen=True)
class Term:
    """One term: `kind` is word, regex, repo, path, lang, sym or case."""

    kind: str
    value: str
    negated: bool = False
    is_regex: bool = False


def parse(text):
    """Reads a query of the set; raises ValueError on what it does not know."""
    terms, position = [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        term, position = _term(text, position)
        terms.append(term)
    if not terms:
        raise ValueError("an empty query")
    return terms


def _term(text, position):
    negated = text[position] == "-" and position + 1 < len(text) and not text[position + 1].isspace() \
        and text[position + 1] != "-"
    if negated:
        position += 1
    kind = "word"
    qualifier = re.compile(r"([a-z]+):(?=\S)").match(text, position)
    if qualifier and qualifier.group(1) in QUALIFIERS and text[qualifier.end()] != ":":
        kind, position = QUALIFIERS[qualifier.group(1)], qualifier.end()
    value, is_regex, position = _value(text, position)
    if kind == "word" and value in BOOLEANS and not is_regex:
        raise ValueError(f"{value} is not used in this set")
    if kind == "word" and is_regex:
        kind = "regex"
    return Term(kind, value, negated, is_regex), position


def _value(text, position):
    quote = text[position]
    if quote not in "\"/" or (quote == "/" and not _closing_slash(text, position)):
        end = position
        while end < len(text) and not text[end].isspace():
            end += 1
        return text[position:end], False, end
    value, end = "", position + 1
    while end < len(text) and text[end] != quote:
        escaped = text[end] == "\\" and text[end + 1:end + 2] in ((quote, "\\") if quote == '"' else (quote,))
        end += escaped
        if quote == "/" and text[end] == "\\":
            value += text[end]
            end += 1
        value += text[end]
        end += 1
    if end == len(text):
        raise ValueError(f"{quote} at {position} is not closed")
    return value, quote == "/", end + 1


def _closing_slash(text, position):
    return re.compile(r"/(?:\\.|[^/\\])+/(?=\s|$)").match(text, position) is not None


def pairs():
    """All pairs, in the order of the file."""
    with PAIRS.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def repositories():
    """name -> commit."""
    return {entry["name"]: entry["commit"] for entry in json.loads(REPOSITORIES.read_text())["repositories"]}
