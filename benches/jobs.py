#!/usr/bin/env python3
"""Measures jobs: `make bench` builds the release binary and runs this.

Only ratios count where programs are compared: each comparison is warmed up once and then made in
interleaved rounds into fresh folders; medians are compared. How long checking and planning take, and
how much memory, is told as it is.

    benches/jobs.py [--rounds N] [--rows N] [--small N] [--inputs N] [--work DIR] [--binary FILE] [WHAT ...]

WHAT is cpu (all tasks of a job against `skyprep run`, the same pipeline), cores (two workers of one
thread each against one), check (small Parquet files looked at cold; needs pyarrow), scale (planning and
status of very many inputs from side-cars), or all of them.
"""

import argparse
import json
import os
import random
import subprocess
import sys

import measuring

COLUMNS = 25
SKY = "stripes = 85\nsub_stripes = 12\noverlap = 0.01667"
# 146,332 chunks.
FINE_SKY = "stripes = 340\nsub_stripes = 3\noverlap = 0.01667"
# What is linked so often under further names; file systems allow some 65,000.
LINKS = 50_000


def pipeline(inputs, sky, fields):
    return f"""
[database]
name = "d"
{sky}
[product.p]
inputs = ["{inputs}"]
{fields}
[table.T]
kind = "director"
products = ["p"]
id = "id"
ra = "ra"
dec = "dec"
[stage]
dest = "out"
"""


def make_text(place, rows, files, sky=((50, 75), (-44, -27))):
    """Writes a catalogue of a region in some files, and returns its pipeline."""
    (ra_min, ra_max), (dec_min, dec_max) = sky
    os.makedirs(place.path("text"), exist_ok=True)
    random.seed(rows)
    tails = ["\t".join(f"{random.gauss(20, 3):.9g}" for _ in range(COLUMNS - 3)) for _ in range(997)]
    for number in range(files):
        with open(place.path(f"text/part-{number:03}.txt"), "w") as out:
            for row in range(number * rows // files, (number + 1) * rows // files):
                ra, dec = random.uniform(ra_min, ra_max), random.uniform(dec_min, dec_max)
                out.write(f"{row}\t{ra:.9f}\t{dec:.9f}\t{tails[row % 997]}\n")
    names = ["id", "ra", "dec"] + [f"c{number}" for number in range(COLUMNS - 3)]
    return pipeline(place.path("text/*.txt"), SKY, f"fields = {json.dumps(names)}")


def make_all_sky(place, rows, files):
    return make_text(place, rows, files, ((0, 360), (-85, 85)))


def make_parquet(place, rows, files):
    """The same as Parquet: an id, positions, and magnitudes of single and double precision."""
    import numpy
    import pyarrow
    import pyarrow.parquet

    os.makedirs(place.path("parquet"), exist_ok=True)
    random_ = numpy.random.default_rng(rows)
    for number in range(files):
        first, end = number * rows // files, (number + 1) * rows // files
        count = end - first
        columns = {
            "id": numpy.arange(first, end),
            "ra": 50 + random_.random(count) * 25,
            "dec": -44 + random_.random(count) * 17,
        }
        for column in range(COLUMNS - 3):
            values = random_.normal(20, 3, count)
            columns[f"c{column}"] = values if column % 3 else values.astype(numpy.float32)
        path = place.path(f"parquet/part-{number:03}.parquet")
        pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
    return pipeline(place.path("parquet/*.parquet"), SKY, "")


def by_job(binary, plan, submit):
    return (
        f"JOB=$({binary} job plan prep.toml -q --threads 2 {plan}) && "
        f"{binary} job submit --job $JOB -q --progress none {submit}"
    )


def compare(place, options, title, cases, first, make=make_text):
    text = make(place, options.rows, 16)
    with open(place.path("prep.toml"), "w") as out:
        out.write(text)
    copy = f"cp {place.path('prep.toml')} . && "
    cases = {name: copy + command for name, command in cases.items()}
    measuring.show(title, place.compare(cases, options.rounds), first)


def cpu(place, options):
    cases = [("text of a region", make_text, "4GiB")]
    if measuring.has_module("pyarrow"):
        cases.append(("Parquet of a region", make_parquet, "4GiB"))
    else:
        print("SKIPPED: cpu of Parquet needs pyarrow (pip install pyarrow)")
    cases.append(("text of the whole sky, more than memory may hold", make_all_sky, "128MiB"))
    for what, make, memory in cases:
        common = f"--memory-limit {memory} --threads 2"
        commands = {
            "run": f"{options.binary} run prep.toml -q {common} --progress none",
            "8 map, 4 reduce": by_job(options.binary, "--map-tasks 8 --reduce-tasks 4", common),
        }
        compare(place, options, f"{what}: a job against a run", commands, "run", make)


def cores(place, options):
    plan = "--map-tasks 8 --reduce-tasks 4"
    cases = {
        "one worker": by_job(options.binary, plan, "--threads 1 --workers 1"),
        "two workers": by_job(options.binary, plan, "--threads 2 --workers 2"),
    }
    compare(place, options, "two workers of one thread each against one", cases, "one worker")


def tell(what, command, folder):
    found = measuring.run(command, folder)
    print(f"  {what:44} {found.wall:7.1f} s {found.peak:7.0f} MiB", flush=True)


def make_small(place, folder, count):
    """Writes small Parquet files, each of a place on the sky."""
    import pyarrow
    import pyarrow.parquet

    os.makedirs(folder, exist_ok=True)
    random.seed(count)
    for number in range(count):
        ra, dec = random.random() * 359, random.random() * 170 - 85
        table = pyarrow.table(
            {
                "id": [number * 10 + row for row in range(10)],
                "ra": [ra + random.random() for _ in range(10)],
                "dec": [dec + random.random() for _ in range(10)],
            }
        )
        pyarrow.parquet.write_table(table, os.path.join(folder, f"s{number:07}.parquet"))


def check(place, options):
    folder = place.path("check")
    make_small(place, os.path.join(folder, "in"), options.small)
    with open(os.path.join(folder, "prep.toml"), "w") as out:
        out.write(pipeline("in/*.parquet", FINE_SKY, ""))
    try:
        with open("/proc/sys/vm/drop_caches", "w") as caches:
            os.sync()
            caches.write("3\n")
        print(f"{options.small:,} small Parquet files, none of them in the page cache")
    except OSError:
        print(f"{options.small:,} small Parquet files, maybe in the page cache")
    tell("job check", f"{options.binary} job check prep.toml -q --progress none", folder)
    tell("job plan, from its side-car", f"{options.binary} job plan prep.toml -q", folder)


def scale(place, options):
    folder = place.path("scale")
    few = options.inputs // LINKS + 1
    make_small(place, os.path.join(folder, "in"), few)
    with open(os.path.join(folder, "prep.toml"), "w") as out:
        out.write(pipeline("in/*.parquet", FINE_SKY, ""))
    binary = options.binary
    subprocess.run([binary, "job", "check", "prep.toml", "-q"], cwd=folder, check=True)
    checks = os.path.join(folder, "out", ".skyprep", "checks")
    (key,) = os.listdir(checks)
    with open(os.path.join(checks, key, "part-1-of-1.jsonl")) as lines:
        known = [json.loads(line) for line in lines]
    # The same files under many names, and what a check would have found of them.
    with open(os.path.join(checks, key, "part-2-of-2.jsonl"), "w") as out:
        for number in range(options.inputs - few):
            line = known[number % few]
            path = line["path"].replace(".parquet", f"-{number // few:06}.parquet")
            os.link(line["path"], path)
            out.write(json.dumps({**line, "path": path}) + "\n")
    # One file that has changed since.
    changed = known[0]["path"].replace(".parquet", "-000000.parquet")
    bytes_ = open(changed, "rb").read()
    os.remove(changed)
    with open(changed, "wb") as out:
        out.write(bytes_)
    print(f"{options.inputs:,} inputs from side-cars, 146,332 chunks")
    tell("job plan", f"{binary} job plan prep.toml --map-tasks 1000 --reduce-tasks 1000", folder)
    tell("job status", f"{binary} job status prep.toml | cut -c 1-100", folder)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5)
    add("--rows", type=int, default=4_000_000)
    add("--small", type=int, default=20_000)
    add("--inputs", type=int, default=1_600_000)
    add("--work", default=measuring.usual_work())
    add("--binary", default=measuring.RELEASE)
    add("what", nargs="*", metavar="WHAT")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    all_ = {"cpu": cpu, "cores": cores, "check": check, "scale": scale}
    for name in options.what or all_:
        if name not in all_:
            parser.error(f"{name} is none of {', '.join(all_)}")
        if name in ("check", "scale") and not measuring.has_module("pyarrow"):
            print(f"SKIPPED: {name} needs pyarrow (pip install pyarrow)")
            continue
        place = measuring.Place(options.work)
        try:
            all_[name](place, options)
        finally:
            place.close()


if __name__ == "__main__":
    sys.exit(main())
