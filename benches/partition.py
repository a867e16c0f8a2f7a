#!/usr/bin/env python3
"""Measures how quickly rows are sorted into chunks: `make bench` builds the release binary and runs this.

Only ratios to other programs in the same run count. Each comparison is warmed up once and then made in
interleaved rounds into fresh folders; medians are compared.

    benches/partition.py [--rounds N] [--rows N] [--keys N] [--work DIR] [--disk DIR] [--binary FILE] [WHAT ...]

WHAT is text (a catalogue of 25 columns to chunk files, in its dialect and in another, against polars'
plain rewrite of the same file), parquet (62 columns to chunk files, against polars making loadable text),
keys (a child by its director's key against the same by position, and with a tenth of the memory), sky
(the whole sky into many small files on a disk, against a bare loop that creates, writes, syncs and
renames files of the same sizes), matches (pairs by position, against polars' plain rewrite), or all of
them. Inputs are made with polars and numpy (pip install polars numpy).
"""

import argparse
import os
import sys

import measuring

TWO = "--threads 2 -q"
REGION = "--stripes 85 --sub-stripes 12 --overlap 0.01667"
FIELDS = (
    ["objectId", "ra", "decl", "raErr", "declErr", "parent", "primary", "tract", "patch"]
    + [f"{band}_{what}" for band in "ugrizy" for what in ("flux", "fluxErr")]
    + ["extendedness", "shape_xx", "shape_yy", "area"]
)
PLAIN = "--in-delimiter , --in-quote none"

REWRITE = """
import polars, sys
frame = polars.scan_csv(sys.argv[1], has_header=False, infer_schema=False, separator=sys.argv[2])
frame.sink_csv("out", include_header=False, quote_style="never", separator=sys.argv[2])
"""

LOADABLE = r"""
import polars, sys
frame = polars.scan_parquet(sys.argv[1])
made = []
for name, kind in frame.collect_schema().items():
    column = polars.col(name)
    if kind == polars.Binary:
        continue
    if kind == polars.Boolean:
        column = column.cast(polars.UInt8)
    elif kind in (polars.Float32, polars.Float64):
        column = polars.when(column.is_nan()).then(None).otherwise(column).clip(-1.7e308, 1.7e308)
    elif kind == polars.String:
        for plain, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n")):
            column = column.str.replace_all(plain, written, literal=True)
    made.append(column.alias(name))
frame.select(made).sink_csv(
    "out", include_header=False, separator="\t", null_value="\\N", quote_style="never"
)
"""

BARE_LOOP = """
import os, sys
block = os.urandom(1 << 20)
for line in open(sys.argv[1]):
    size, name = line.split()
    path = os.path.join("out", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        left = int(size)
        while left > 0:
            left -= file.write(block[:left])
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
"""


def positions(numpy, rng, rows, region):
    if region:
        low, high = numpy.sin(numpy.radians([-44, -27]))
        ra = rng.uniform(50, 75, rows)
    else:
        low, high = -1, 1
        ra = rng.uniform(0, 360, rows)
    return ra, numpy.degrees(numpy.arcsin(rng.uniform(low, high, rows)))


def catalogue(path, rows, region, separator=","):
    """An LSST-like catalogue of 25 columns as text."""
    import numpy
    import polars

    rng = numpy.random.default_rng(20261121)
    with open(path, "wb") as out:
        for first in range(0, rows, 500_000):
            count = min(500_000, rows - first)
            ra, dec = positions(numpy, rng, count, region)
            number = numpy.arange(first, first + count, dtype=numpy.int64)
            columns = [number * 7919 + 1_200_000_000_000_000_000, ra, dec]
            columns += [(rng.random(count) * 1e-4).astype(numpy.float32) for _ in range(2)]
            columns += [rng.integers(0, 2, count) * 1_200_000_000_000_000_000]
            columns += [rng.integers(0, most, count) for most in (2, 5000, 49)]
            for _ in "ugrizy":
                columns.append(rng.lognormal(6, 2, count))
                columns.append((rng.random(count) * 50).astype(numpy.float32))
            columns += [rng.integers(0, 2, count)]
            columns += [(rng.random(count) * 3).astype(numpy.float32) for _ in range(2)]
            columns += [rng.integers(20, 9000, count)]
            frame = polars.DataFrame(dict(zip(FIELDS, columns)))
            gaps = {name: rng.random(count) < 0.05 for name in FIELDS if "flux" in name}
            frame = frame.with_columns(
                polars.when(polars.Series(gap)).then(None).otherwise(polars.col(name)).alias(name)
                for name, gap in gaps.items()
            )
            frame.write_csv(out, include_header=False, null_value="\\N", separator=separator)
    return path


def script(place, name, text):
    with open(place.path(name), "w") as out:
        out.write(text)
    return f"POLARS_MAX_THREADS=2 {sys.executable} {place.path(name)}"


def text(place, arguments, goals):
    path = catalogue(place.path("object.csv"), arguments.rows, region=True)
    begin = (
        f"{arguments.binary} partition {path} --kind director --ra ra --dec decl {PLAIN} {REGION}"
        f" --fields {','.join(FIELDS)} --memory-limit 256MiB {TWO} -o out"
    )
    found = place.compare(
        {
            "polars rewrite": f"{script(place, 'rewrite.py', REWRITE)} {path} ,",
            "same dialect": f"{begin} --delimiter , --quote none",
            "other dialect": begin,
        },
        arguments.rounds,
    )
    measuring.show(f"text, {os.path.getsize(path) / 1e6:.0f} MB", found, "polars rewrite")
    wall = found["polars rewrite"].wall
    goals.at_least("same dialect, times as quick as polars", wall / found["same dialect"].wall, 2.8)
    goals.at_least("other dialect, times as quick as polars", wall / found["other dialect"].wall, 2)
    goals.at_most("same dialect, MiB", found["same dialect"].peak, 256)


def parquet(place, arguments, goals):
    import numpy
    import polars
    import values

    frame = polars.read_parquet(values.make_object(place, max(1, arguments.rows // 262144)))
    ra, dec = positions(numpy, numpy.random.default_rng(5), frame.height, region=True)
    frame = frame.with_columns(ra=polars.Series(ra), dec=polars.Series(dec))
    path = place.path("region.parquet")
    frame.write_parquet(path, compression="zstd", row_group_size=values.GROUP_ROWS)
    del frame
    begin = f"{arguments.binary} partition {path} --kind director --ra ra --dec dec {REGION} {TWO} -o out"
    cases = {
        "polars text": f"{script(place, 'loadable.py', LOADABLE)} {path}",
        "chunks": f"{begin} --memory-limit 512MiB --charset utf8mb4 --exclude hash",
    }
    found = place.compare(cases, arguments.rounds)
    measuring.show(f"parquet, {os.path.getsize(path) / 1e6:.0f} MB", found, "polars text")
    goals.at_least("times as quick as polars", found["polars text"].wall / found["chunks"].wall, 1.7)
    goals.at_most("MiB", found["chunks"].peak, 512)


def keys(place, arguments, goals):
    import numpy
    import polars

    count, rows = arguments.keys, arguments.keys * 5 // 2
    rng = numpy.random.default_rng(7)
    ids = rng.permutation(numpy.arange(count, dtype=numpy.int64) * 7919 + 1234567890123)
    ra, dec = positions(numpy, rng, count, region=False)
    director, child = place.path("director.txt"), place.path("child.txt")
    frame = polars.DataFrame({"id": ids, "ra": ra, "dec": dec})
    frame.write_csv(director, separator="\t", include_header=False)
    pick = rng.integers(0, count, rows)
    columns = {"n": numpy.arange(rows), "id": ids[pick], "ra": ra[pick], "dec": dec[pick]}
    columns["flux"] = rng.normal(1000, 10, rows)
    frame = polars.DataFrame(columns)
    frame.write_csv(child, separator="\t", include_header=False)
    del frame, columns, pick
    sky = "--stripes 18 --sub-stripes 10 --overlap 0.01667"
    measuring.run(
        f"{arguments.binary} partition {director} --kind director --no-overlap --id id --ra ra --dec dec"
        f" --fields id,ra,dec --index-format binary {sky} {TWO} -o made",
        place.root,
    )
    os.remove(director)
    index = place.path("made/chunk_object_index.bin")
    goals.at_most("bytes of the index a key", os.path.getsize(index) / count, 16)
    begin = f"{arguments.binary} partition {child} --kind child --fields n,id,ra,dec,flux {sky} {TWO} -o out"
    by_key = f"{begin} --id id --index {index}"
    found = place.compare(
        {
            "by position": f"{begin} --ra ra --dec dec --memory-limit 512MiB",
            "by key": f"{by_key} --memory-limit 512MiB",
            "by key, a tenth": f"{by_key} --memory-limit 51MiB",
        },
        arguments.rounds,
    )
    measuring.show(f"keys, {rows / 1e6:.0f} M rows against {count / 1e6:.0f} M keys", found, "by position")
    cpu = {name: it.user + it.sys for name, it in found.items()}
    goals.at_most("by key, CPU to by position", cpu["by key"] / cpu["by position"], 2)
    goals.at_most("by key, MiB", found["by key"].peak, 512)
    goals.at_most("by key with a tenth of the memory, MiB", found["by key, a tenth"].peak, 52)


def sky(place, arguments, goals):
    disk = measuring.Place(arguments.disk)
    path = catalogue(place.path("sky.csv"), arguments.rows * 2 // 5, region=False)
    begin = (
        f"{arguments.binary} partition {path} --kind director --ra ra --dec decl {PLAIN} {REGION}"
        f" --fields {','.join(FIELDS)} --memory-limit 256MiB {TWO} --delimiter , --quote none -o out"
    )
    # Once, to know the files.
    measuring.run(begin, place.root)
    listed = place.path("sizes")
    with open(listed, "w") as out:
        for folder, _, names in os.walk(place.path("out")):
            for name in names:
                if name.endswith(".txt"):
                    out.write(f"{os.path.getsize(os.path.join(folder, name))} {name}\n")
    with open(place.path("loop.py"), "w") as out:
        out.write(BARE_LOOP)
    found = disk.compare(
        {"bare loop": f"{sys.executable} {place.path('loop.py')} {listed}", "whole sky": begin},
        arguments.rounds,
    )
    disk.close()
    measuring.show("whole sky, to disk", found, "bare loop")
    goals.at_most("wall to a bare loop", found["whole sky"].wall / found["bare loop"].wall, 2)
    goals.at_most("MiB", found["whole sky"].peak, 256)


def matches(place, arguments, goals):
    import numpy
    import polars

    rows = arguments.rows * 3 // 5
    rng = numpy.random.default_rng(9)
    ra, dec = positions(numpy, rng, rows, region=True)
    columns = {"id1": numpy.arange(rows), "id2": numpy.arange(rows) + 10**12, "ra1": ra, "dec1": dec}
    columns["ra2"] = ra + rng.uniform(-0.005, 0.005, rows)
    columns["dec2"] = dec + rng.uniform(-0.005, 0.005, rows)
    columns["separation"] = rng.uniform(0, 20, rows)
    path = place.path("matches.txt")
    polars.DataFrame(columns).write_csv(path, separator="\t", include_header=False)
    found = place.compare(
        {
            "polars rewrite": f"{script(place, 'rewrite.py', REWRITE)} {path} $'\\t'",
            "matches": f"{arguments.binary} partition {path} --kind match --ra1 ra1 --dec1 dec1 --ra2 ra2"
            f" --dec2 dec2 --fields {','.join(columns)} {REGION} {TWO} -o out",
        },
        arguments.rounds,
    )
    measuring.show(f"matches, {rows / 1e6:.1f} M pairs", found, "polars rewrite")
    quick = found["polars rewrite"].wall / found["matches"].wall
    goals.at_least("times as quick as polars", quick, 1.5)


CASES = {"text": text, "parquet": parquet, "keys": keys, "sky": sky, "matches": matches}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--keys", type=int, default=20_000_000)
    parser.add_argument("--work", default=measuring.usual_work())
    parser.add_argument("--disk", help="a folder on a disk, for sky")
    parser.add_argument("--binary", default=measuring.RELEASE)
    arguments = parser.parse_args()
    unknown = [what for what in arguments.what if what not in CASES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(CASES)}")
    if not (measuring.has_module("polars") and measuring.has_module("numpy")):
        print("SKIPPED: polars or numpy is not there (pip install polars numpy)")
        return
    arguments.binary = os.path.abspath(arguments.binary)
    goals = measuring.Goals()
    for what in arguments.what or CASES:
        place = measuring.Place(arguments.work)
        try:
            CASES[what](place, arguments, goals)
        finally:
            place.close()
    print("all goals are met" if goals.is_kept else "a goal is missed")
    sys.exit(0 if goals.is_kept else 1)


if __name__ == "__main__":
    main()
