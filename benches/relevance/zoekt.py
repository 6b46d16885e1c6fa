#!/usr/bin/env python3
"""Measures Zoekt on the pairs: recall@1, recall@5, MRR, for both halves.

Usage: zoekt.py http://127.0.0.1:PORT [--bm25] [--out FILE] [--misses]

The server is a `zoekt-webserver -rpc` over an index of the repositories in
repositories.json whose names are those of the file (`zoekt.name` in the git
configuration). Needs the Python standard library only.
"""

import argparse
import json
import re
import urllib.request

import query

CUT_OFF = 10
PAGE = 100
# Far above what the set can reach: its defaults cut off common words before ranking.
MATCH_LIMIT = 10_000_000


def quoted(regex):
    """One Zoekt token that holds this regex, spaces and parentheses included."""
    return '"' + regex.replace("\\", "\\\\").replace('"', '\\"') + '"'


def translate(text):
    """A query of the set in Zoekt's language."""
    terms = query.parse(text)
    sensitive = any(term.kind == "case" and term.value == "yes" for term in terms)
    parts = [part for term in terms if term.kind != "case" for part in _translate(term)]
    return " ".join([*parts, "case:yes" if sensitive else "case:no"])


def _translate(term):
    sign = "-" if term.negated else ""
    regex = term.value if term.is_regex else re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", term.value)
    if term.kind in ("word", "regex"):
        return [sign + quoted(regex)]
    if term.kind == "lang":
        return [f"{sign}lang:{term.value}"]
    if term.kind == "repo":
        exact = not term.is_regex and "/" in term.value
        return [f"{sign}r:" + quoted(f"^{regex}$" if exact else regex)]
    if term.kind == "path":
        anchored = not term.is_regex and term.value.startswith("/")
        return [f"{sign}f:" + quoted(f"^{regex[1:]}" if anchored else regex)]
    # Zoekt has no containers: the type's name becomes a word of its own.
    *container, name = [regex] if term.is_regex else re.split(r"::|\.", term.value)
    return [f"{sign}sym:" + quoted(name), *map(quoted, container)]


def search(server, text, bm25):
    """The (repository, path) of the files found, best first."""
    options = {"MaxDocDisplayCount": PAGE, "UseBM25Scoring": bm25,
               "ShardMaxMatchCount": MATCH_LIMIT, "TotalMaxMatchCount": MATCH_LIMIT}
    body = {"Q": text, "Opts": options}
    request = urllib.request.Request(f"{server}/api/search", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        result = json.load(reply)["Result"]
    return [(found["Repository"], found["FileName"]) for found in result["Files"] or []]


def rank_of(pair, found):
    """1-based rank of the first wanted document, or None."""
    wanted = {(want["repository"], want["path"]) for want in pair["wants"]}
    return next((rank for rank, key in enumerate(found, start=1) if key in wanted), None)


def summary(ranks):
    """Figures over the ranks of one group of pairs."""
    total = len(ranks)
    return {
        "pairs": total,
        "recall_at_1": round(sum(rank == 1 for rank in ranks) / total, 3),
        "recall_at_5": round(sum(rank is not None and rank <= 5 for rank in ranks) / total, 3),
        "mrr_at_10": round(sum(1 / rank for rank in ranks if rank and rank <= CUT_OFF) / total, 3),
    }


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("server")
    arguments.add_argument("--bm25", action="store_true")
    arguments.add_argument("--misses", action="store_true", help="print the ranks of the tune half that are not 1")
    arguments.add_argument("--out")
    options = arguments.parse_args()
    rows = []
    for pair in query.pairs():
        text = translate(pair["query"])
        found = search(options.server, text, options.bm25)
        rows.append({"id": pair["id"], "split": pair["split"], "kind": pair["kind"], "query": pair["query"],
                     "zoekt": text, "rank": rank_of(pair, found), "found": len(found)})
    groups = {split: [row["rank"] for row in rows if row["split"] == split] for split in ("tune", "held-out")}
    groups["all"] = [row["rank"] for row in rows]
    for split in ("tune", "held-out"):
        for name, ids in query.BATCHES.items():
            groups[f"{split}, {name}"] = [row["rank"] for row in rows if row["split"] == split and row["id"] in ids]
    groups |= {f"kind {kind}": [row["rank"] for row in rows if row["kind"] == kind]
               for kind in sorted({row["kind"] for row in rows})}
    result = {"figures": {name: summary(ranks) for name, ranks in groups.items()}, "pairs": rows}
    for name, figures in result["figures"].items():
        print(f"{name:22}", *(f"{key}={value}" for key, value in figures.items()))
    if options.misses:
        for row in rows:
            if row["rank"] != 1 and row["split"] == "tune":
                print(f"{row['id']:4} rank {row['rank']} of {row['found']}: {row['query']}")
    if options.out:
        with open(options.out, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
