#!/usr/bin/env python3
"""Measures how quickly values are brought into shape: `make bench` builds the release binary and runs this.

Only ratios to other programs in the same run count: machines differ, and so does one machine from
hour to hour. Each comparison is warmed up once and then made in interleaved rounds into fresh
folders; medians are compared. Programs that are not there are passed over.

    benches/values.py [--rounds N] [--megabytes N] [--work DIR] [--binary FILE] [WHAT ...]

WHAT is sanitize (text by a schema, by look, and within one dialect, against cp, mawk and DuckDB),
pipe (the same between two pipes, against cat) or all of them.

DuckDB and mawk write other text: mawk knows nothing of quotes, and neither escapes what has to be.
"""

import argparse
import json
import os
import random
import sys

import measuring

FLOATS = [f"f{n}" for n in range(12)]
FLAGS = [f"b{n}" for n in range(5)]
WHOLE = [f"i{n}" for n in range(3)]
TEXTS = ["name", "label"]
COLUMNS = ["id", *FLOATS, *FLAGS, *WHOLE, *TEXTS]
TYPES = (
    ["BIGINT"] + ["DOUBLE"] * 12 + ["TINYINT"] * 5 + ["INT"] * 3 + ["VARCHAR(64)"] * 2
)
# Rows differ in their number; the rest comes round again.
DISTINCT_ROWS = 20011


def tail(rng):
    """A row without its number: some 4 % of floats are NULL, NaN or infinite, some texts are quoted."""
    odd = ["NULL", "nan", "inf", "-inf", "NaN"]
    floats = [
        rng.choice(odd) if rng.random() < 0.02 else repr(rng.lognormvariate(4, 2)) for _ in FLOATS
    ]
    flags = [rng.choice(["true", "false", "false", "False"]) for _ in FLAGS]
    whole = [str(rng.randrange(100000)) for _ in WHOLE]
    name = rng.choice(["star", "plain", "galaxy M31", "O'Brien", "na\u00efve \u00e9"])
    if rng.random() < 0.05:
        name = rng.choice(['"a,b"', '"say ""hi"""', '"line1\nline2"'])
    label = "" if rng.random() < 0.02 else rng.choice(["true story", "star", "galaxy M31"])
    return ",".join([*floats, *flags, *whole, name, label])


def make_input(place, megabytes):
    """Writes the table and its schema; returns their paths."""
    path, schema = place.path("in.csv"), place.path("schema.json")
    rng = random.Random(20261121)
    tails = [tail(rng) for _ in range(DISTINCT_ROWS)]
    left, row = megabytes * 1_000_000, 0
    with open(path, "w", encoding="utf8", newline="") as out:
        out.write(",".join(COLUMNS) + "\n")
        while left > 0:
            lines = "".join(f"{row + at},{text}\n" for at, text in enumerate(tails))
            left -= out.write(lines)
            row += len(tails)
    with open(schema, "w") as out:
        columns = [{"name": name, "type": kind} for name, kind in zip(COLUMNS, TYPES)]
        json.dump({"table": "bench", "schema": columns}, out)
    return path, schema


def sanitize_commands(binary, path, schema):
    """The three ways of `sanitize` that are measured."""
    begin = f"{binary} sanitize {path} --in-dialect rfc4180 --in-header --threads 2 -q --charset utf8mb4"
    loadable = "--dialect qserv-csv --null-text '' --null-text NULL"
    return {
        "by schema": f"{begin} {loadable} --schema {schema} -o out",
        "by look": f"{begin} {loadable} --infer --assume-float double -o out",
        "same dialect": f"{begin} --in-null '\\N' --dialect rfc4180 --null '\\N' --null-text NULL"
        f" --schema {schema} -o out",
    }


MAWK = r"""
BEGIN { FS = OFS = "," }
NR > 1 {
    for (i = 1; i <= NF; i++) {
        if ($i == "true" || $i == "True" || $i == "TRUE") $i = "1"
        else if ($i == "false" || $i == "False" || $i == "FALSE") $i = "0"
        else if ($i == "" || $i == "NULL" || $i == "nan" || $i == "NaN") $i = "\\N"
        else if ($i == "inf") $i = "1.7976931348623157E+308"
        else if ($i == "-inf") $i = "-1.7976931348623157E+308"
    }
    print
}
"""

DUCKDB = r"""
import duckdb, sys
names = {names!r}
def clean(name):
    it = '"' + name + '"'
    return (f"CASE WHEN {{it}} IN ('true', 'True', 'TRUE') THEN '1'"
            f" WHEN {{it}} IN ('false', 'False', 'FALSE') THEN '0'"
            f" WHEN {{it}} IN ('nan', 'NaN', 'NULL') OR {{it}} IS NULL THEN '\\N'"
            f" WHEN {{it}} = 'inf' THEN '1.7976931348623157E+308'"
            f" WHEN {{it}} = '-inf' THEN '-1.7976931348623157E+308' ELSE {{it}} END AS {{it}}")
connection = duckdb.connect()
connection.execute("SET threads = 2")
connection.execute(
    "COPY (SELECT " + ", ".join(map(clean, names)) + " FROM read_csv({path!r}, all_varchar = true,"
    " header = true, delim = ',', quote = '\"', escape = '\"')) TO 'out' (FORMAT csv, HEADER false)"
)
"""


def sanitize_peers(place, path):
    """What others make of the same file, as far as they are there."""
    peers = {"cp": f"cp {path} out"}
    if measuring.has_program("mawk"):
        with open(place.path("clean.awk"), "w") as script:
            script.write(MAWK)
        peers["mawk"] = f"LC_ALL=C mawk -f {place.path('clean.awk')} {path} > out"
    else:
        print("SKIPPED: mawk is not there")
    if measuring.has_module("duckdb"):
        with open(place.path("clean.py"), "w") as script:
            script.write(DUCKDB.format(names=COLUMNS, path=path))
        peers["DuckDB"] = f"{sys.executable} {place.path('clean.py')}"
    else:
        print("SKIPPED: DuckDB is not there (pip install duckdb)")
    return peers


def sanitize(place, arguments, goals):
    path, schema = arguments.input
    commands = sanitize_commands(arguments.binary, path, schema)
    cases = {**commands, **sanitize_peers(place, path)}
    found = place.compare(cases, arguments.rounds)
    measuring.show(f"sanitize, {os.path.getsize(path) / 1e6:.0f} MB, two threads", found, "cp")
    for name in commands:
        mine = found[name]
        goals.at_most(f"{name}, wall to cp", mine.wall / found["cp"].wall, 3)
        goals.at_most(f"{name}, MiB", mine.peak, 64)
        for peer, least in (("DuckDB", 6), ("mawk", 12)):
            if peer in found:
                goals.at_least(f"{name}, times as quick as {peer}", found[peer].wall / mine.wall, least)


def pipe(place, arguments, goals):
    path, schema = arguments.input
    by_schema = sanitize_commands(arguments.binary, "-", schema)["by schema"]
    through = by_schema.replace("-o out", "-o -")
    cases = {
        "cat": f"cat {path} | cat > out",
        "sanitize": f"cat {path} | {through} | cat > out",
    }
    found = place.compare(cases, arguments.rounds)
    measuring.show("in a pipe", found, "cat")
    goals.at_least("pipe, speed to cat", found["cat"].wall / found["sanitize"].wall, 0.5)


CASES = {"sanitize": sanitize, "pipe": pipe}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--work", default=measuring.usual_work())
    parser.add_argument("--binary", default=measuring.RELEASE)
    arguments = parser.parse_args()
    unknown = [what for what in arguments.what if what not in CASES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(CASES)}")
    arguments.binary = os.path.abspath(arguments.binary)
    place, goals = measuring.Place(arguments.work), measuring.Goals()
    try:
        arguments.input = make_input(place, arguments.megabytes)
        for what in arguments.what or CASES:
            CASES[what](place, arguments, goals)
    finally:
        place.close()
    print("all goals are met" if goals.is_kept else "a goal is missed")
    sys.exit(0 if goals.is_kept else 1)


if __name__ == "__main__":
    main()
