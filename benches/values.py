#!/usr/bin/env python3
"""Measures how quickly values are brought into shape: `make bench` builds the release binary and runs this.

Only ratios to other programs in the same run count: machines differ, and so does one machine from
hour to hour. Each comparison is warmed up once and then made in interleaved rounds into fresh
folders; medians are compared. Programs that are not there are passed over.

    benches/values.py [--rounds N] [--megabytes N] [--work DIR] [--binary FILE] [WHAT ...]

WHAT is convert (Parquet of 62 columns to text, against polars and DuckDB, which are told to write what
MariaDB loads), wide (a cell of 1,300 columns against one of 62), sanitize (text by a schema, by look,
and within one dialect, against cp, mawk and DuckDB), pipe (the same between two pipes, against cat) or
all of them. Parquet is made with polars (pip install polars).

DuckDB and mawk sanitize to other text: mawk knows nothing of quotes, and neither escapes what has to be.
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


BANDS = "ugrizy"
OBJECT_FLOATS = [f"{band}_flux{n}" for band in BANDS for n in range(6)] + ["flux_all"]
OBJECT_SINGLES = [f"{band}_snr" for band in BANDS] + [f"shape{n}" for n in range(4)]
OBJECT_FLAGS = [f"{band}_flag" for band in BANDS]
GROUP_ROWS = 131072


def object_group(rng):
    """Columns of one row group like those of LSST's Object table; 3 % NULL, some NaN and infinite."""
    odd = [float("nan"), float("inf"), float("-inf")]

    def flux():
        chance = rng.random()
        if chance < 0.03:
            return None
        return rng.choice(odd) if chance < 0.035 else rng.lognormvariate(5, 2.5)

    rows = range(GROUP_ROWS)
    # A few thousand values come round in another order in each column: making all would take long.
    fluxes = [flux() for _ in range(20011)]
    numbers = [rng.normalvariate(0, 30) for _ in range(20011)]
    columns = {"objectId": [1248360588202483712 + row * 7919 for row in rows]}
    columns["ra"] = [rng.uniform(0, 360) for _ in rows]
    for at, name in enumerate(OBJECT_FLOATS):
        columns[name] = [fluxes[(row * (at + 3)) % 20011] for row in rows]
    for at, name in enumerate(OBJECT_SINGLES):
        columns[name] = [numbers[(row * (at + 5)) % 20011] for row in rows]
    for name in OBJECT_FLAGS:
        columns[name] = [rng.random() < 0.1 for _ in rows]
    for at in range(4):
        columns[f"count{at}"] = [rng.randrange(-5, 5000) for _ in rows]
    texts = ["star", "plain", "galaxy M31", "O'Brien", "back\\slash", "tab\there", "na\u00efve \u00e9"]
    columns["name"] = [rng.choice(texts) for _ in rows]
    columns["hash"] = [rng.randbytes(16) for _ in rows]
    columns["time"] = [1_700_000_000_000_000 + row * 1_234_567 for row in rows]
    return columns


def make_object(place, groups):
    """Writes row groups that differ in their floats; returns the path."""
    import polars as pl

    singles = {name: pl.Float32 for name in OBJECT_SINGLES}
    types = {**singles, **{f"count{at}": pl.Int32 for at in range(4)}}
    base = pl.DataFrame(object_group(random.Random(20261121)), schema_overrides=types)
    base = base.with_columns(pl.col("time").cast(pl.Datetime("us")))
    frames = []
    for group in range(groups):
        scaled = [pl.col(name) * (1 + group / 1000) for name in OBJECT_FLOATS]
        frames.append(base.with_columns(pl.col("objectId") + group * 10**9, *scaled))
    path = place.path("object.parquet")
    pl.concat(frames).write_parquet(path, compression="zstd", row_group_size=GROUP_ROWS)
    return path


WIDE_CELLS = 26_000_000
# A prime above the rows of 62 columns.
WIDE_VALUES = 450_001


def make_wide(place, columns):
    """So many columns of doubles and singles, with as many cells in all as any other number has.

    No value comes twice in a column, so that no file is dictionaries where another is numbers; and
    row groups hold as many cells, for they are sized by bytes.
    """
    import polars as pl

    rng = random.Random(20261121)
    rows = WIDE_CELLS // columns
    values = pl.Series([rng.lognormvariate(5, 2.5) for _ in range(WIDE_VALUES)])
    made = {}
    for at in range(columns):
        order = pl.int_range(0, rows, eager=True) * (at + 3) % WIDE_VALUES
        series = values.gather(order) * (1 + at / 1000)
        made[f"c{at}"] = series if at % 3 else series.cast(pl.Float32)
    path = place.path(f"wide{columns}.parquet")
    group = GROUP_ROWS * 62 // columns
    pl.DataFrame(made).write_parquet(path, compression="zstd", row_group_size=group)
    return path, rows * columns


POLARS = r"""
import polars as pl
lazy = pl.scan_parquet({path!r})
loadable = []
for name, kind in lazy.collect_schema().items():
    it = pl.col(name)
    if kind in (pl.Float64, pl.Float32):
        limit = 1.797E308 if kind == pl.Float64 else 3.4028234E38
        it = (pl.when(it.is_nan()).then(None).when(it == float("inf")).then(limit)
              .when(it == float("-inf")).then(-limit).otherwise(it).cast(kind))
    elif kind == pl.Boolean:
        it = it.cast(pl.Int8)
    elif kind == pl.Binary:
        it = it.bin.encode("hex")
    elif kind == pl.String:
        it = it.str.replace_all("\\", "\\\\", literal=True)
    loadable.append(it.alias(name))
lazy.with_columns(loadable).sink_csv("out", include_header=False, null_value="\\N")
"""

DUCKDB_CONVERT = r"""
import duckdb
connection = duckdb.connect()
connection.execute("SET threads = 2")
loadable = []
columns = connection.execute("DESCRIBE SELECT * FROM read_parquet({path!r})").fetchall()
for name, kind in (column[:2] for column in columns):
    it = '"' + name + '"'
    if kind in ("DOUBLE", "FLOAT"):
        limit = "1.797E308" if kind == "DOUBLE" else "3.4028234E38"
        it = (f"CASE WHEN isnan({{it}}) THEN NULL WHEN isinf({{it}}) THEN sign({{it}}) * {{limit}}"
              f" ELSE {{it}} END")
    elif kind == "BOOLEAN":
        it = f"CAST({{it}} AS TINYINT)"
    elif kind == "BLOB":
        it = f"hex({{it}})"
    elif kind == "VARCHAR":
        it = f"replace({{it}}, '\\', '\\\\')"
    loadable.append(f'{{it}} AS "{{name}}"')
connection.execute("COPY (SELECT " + ", ".join(loadable) + " FROM read_parquet({path!r}))"
                   " TO 'out' (FORMAT csv, HEADER false, NULLSTR '\\N')")
"""


def convert_command(binary, path, threads):
    return f"{binary} convert {path} -o out --charset utf8mb4 -q --threads {threads}"


def convert(place, arguments, goals):
    if not measuring.has_module("polars"):
        return print("SKIPPED: polars is not there (pip install polars)")
    path = make_object(place, max(1, arguments.megabytes // 115))
    cases = {f"{n} threads": convert_command(arguments.binary, path, n) for n in (2, 1)}
    peers = {"polars": POLARS, "DuckDB": DUCKDB_CONVERT}
    if not measuring.has_module("duckdb"):
        print("SKIPPED: DuckDB is not there (pip install duckdb)")
        del peers["DuckDB"]
    for name, script in peers.items():
        own = place.path(f"convert_{name}.py")  # not the name of the module that it imports
        with open(own, "w") as out:
            out.write(script.format(path=path))
        cases[name] = f"POLARS_MAX_THREADS=2 {sys.executable} {own}"
    found = place.compare(cases, arguments.rounds)
    measuring.show(f"convert, {os.path.getsize(path) / 1e6:.0f} MB of Parquet", found, "polars")
    mine, alone, polars = found["2 threads"], found["1 threads"], found["polars"]
    goals.at_least("times as quick as polars", polars.wall / mine.wall, 2)
    goals.at_most("CPU to polars", (mine.user + mine.sys) / (polars.user + polars.sys), 0.55)
    goals.at_least("two threads, times as quick as one", alone.wall / mine.wall, 1.8)
    goals.at_most("MiB", mine.peak, 128)
    if "DuckDB" in found:
        goals.at_least("times as quick as DuckDB", found["DuckDB"].wall / mine.wall, 5)


def wide(place, arguments, goals):
    if not measuring.has_module("polars"):
        return print("SKIPPED: polars is not there (pip install polars)")
    made = {columns: make_wide(place, columns) for columns in (62, 1300)}
    cases = {
        f"{columns} columns": convert_command(arguments.binary, path, 2)
        for columns, (path, _) in made.items()
    }
    found = place.compare(cases, arguments.rounds)
    measuring.show("width", found, "62 columns")
    cost = {
        columns: (found[f"{columns} columns"].user + found[f"{columns} columns"].sys) / cells
        for columns, (_, cells) in made.items()
    }
    goals.at_most("CPU per cell, 1,300 columns to 62", cost[1300] / cost[62], 1.3)


CASES = {"convert": convert, "wide": wide, "sanitize": sanitize, "pipe": pipe}


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
        chosen = arguments.what or list(CASES)
        if {"sanitize", "pipe"} & set(chosen):
            arguments.input = make_input(place, arguments.megabytes)
        for what in chosen:
            CASES[what](place, arguments, goals)
    finally:
        place.close()
    print("all goals are met" if goals.is_kept else "a goal is missed")
    sys.exit(0 if goals.is_kept else 1)


if __name__ == "__main__":
    main()
