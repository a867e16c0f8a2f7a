#!/usr/bin/env python3
"""Measures the exchange: `make bench` builds the release binary and runs this.

Only ratios count: machines differ, and so does one machine from hour to hour. Each comparison is
warmed up once and then made in interleaved rounds into fresh folders; medians of wall, user and
system time are compared.

    benches/exchange.py [--rounds N] [--rows N] [--work DIR] [--binary FILE] [WHAT ...]

WHAT is memory (little memory against ample), rows (time per row as inputs grow), segments (which
finish is quicker for which length of segments) or all of them.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLUMNS = 25
# Where inputs are many: outputs stay until the end, and memory is not endless.
FEW_COLUMNS = 8


def generate(path, rows, sky, columns):
    """Writes rows all over the sky or in a region of 10 by 10 degrees."""
    random.seed(f"{rows} {sky}")
    tails = ["\t".join(f"{random.gauss(20, 3):.9g}" for _ in range(columns - 3)) for _ in range(997)]
    with open(path, "w") as out:
        for start in range(0, rows, 10000):
            lines = []
            for row in range(start, min(rows, start + 10000)):
                if sky:
                    ra, dec = random.random() * 360, random.random() * 120 - 60
                else:
                    ra, dec = 150 + random.random() * 10, random.random() * 10
                lines.append(f"{row}\t{ra:.9f}\t{dec:.9f}\t{tails[row % 997]}\n")
            out.write("".join(lines))


def run(binary, inputs, out, options):
    with open(inputs[0]) as text:
        columns = text.readline().count("\t") + 1
    fields = ",".join(["id", "ra", "dec"] + [f"c{n}" for n in range(columns - 3)])
    command = [
        binary, "partition", *inputs, "-o", out, "-q", "--kind", "director", "--id", "id",
        "--ra", "ra", "--dec", "dec", "--fields", fields, "--overlap", "0.01667", *options,
    ]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True)
    wall, after = time.perf_counter() - start, os.times()
    return (
        wall,
        after.children_user - before.children_user,
        after.children_system - before.children_system,
    )


class Bench:
    def __init__(self, arguments):
        self.binary, self.rounds, self.rows = arguments.binary, arguments.rounds, arguments.rows
        self.work = tempfile.mkdtemp(prefix="skyprep-bench-", dir=arguments.work)
        self.count = 0

    def file(self, rows, sky, columns=COLUMNS):
        path = os.path.join(self.work, f"{rows}-{columns}-{'sky' if sky else 'region'}.txt")
        if not os.path.exists(path):
            generate(path, rows, sky, columns)
        return path

    def once(self, inputs, options):
        self.count += 1
        out = os.path.join(self.work, f"out{self.count}")
        times = run(self.binary, inputs, out, options)
        return times, out

    def compare(self, cases):
        """Runs each case in turn, round after round; returns medians of wall, user, system."""
        times = {name: [] for name in cases}
        outs = []
        for round_ in range(self.rounds + 1):
            for name, (inputs, options) in cases.items():
                measured, out = self.once(inputs, options)
                outs.append(out)
                if round_ > 0:
                    times[name].append(measured)
        # Not in between: removing files disturbs what is measured next.
        for out in outs:
            shutil.rmtree(out)
        return {
            name: tuple(statistics.median(column) for column in zip(*all_))
            for name, all_ in times.items()
        }

    def close(self):
        shutil.rmtree(self.work)


def show(name, times, base):
    ratios = " ".join(f"{mine / theirs if theirs else 0:6.2f}" for mine, theirs in zip(times, base))
    print(f"  {name:36} {times[0]:7.2f} {times[1]:7.2f} {times[2]:7.2f}   {ratios}", flush=True)


def head(title):
    print(f"{title}\n  {'':36} {'wall':>7} {'user':>7} {'sys':>7}   ratios to the first", flush=True)


def memory(bench):
    """The append finish with a tenth of the memory that all rows take, against ample memory."""
    path = bench.file(bench.rows, sky=False)
    division = ["--stripes", "180", "--sub-stripes", "6"]
    # Overlap makes about 1.4 times the rows.
    size = os.path.getsize(path) * 14 // 10
    little = f"{size // 10 >> 20}MiB"
    cases = {"ample": ([path], division + ["--memory-limit", "8GiB"])}
    for finish in ("append", "exchange", "auto"):
        options = ["--memory-limit", little, "--finish", finish]
        cases[f"{little}, {finish}"] = ([path], division + options)
    found = bench.compare(cases)
    head(f"a tenth of the memory, {bench.rows} rows, {size >> 20} MiB of chunk files; goal: append <= 1.30")
    for name, times in found.items():
        show(name, times, found["ample"])
    return found[f"{little}, append"][0] / found["ample"][0] <= 1.3


def rows(bench):
    """Time per row as inputs grow: 1, 2, 4 and 8 files of the same length."""
    path = bench.file(bench.rows, sky=False, columns=FEW_COLUMNS)
    names = []
    for number in range(8):
        name = f"{path}.{number}"
        if not os.path.exists(name):
            os.link(path, name)
        names.append(name)
    options = ["--stripes", "180", "--sub-stripes", "6", "--memory-limit", "512MiB"]
    cases = {f"{files} x {bench.rows} rows": (names[:files], options) for files in (1, 2, 4, 8)}
    found = bench.compare(cases)
    per_row = {
        name: tuple(value / files for value in found[name])
        for name, files in zip(found, (1, 2, 4, 8))
    }
    head("time per file as inputs grow, 512 MiB; goal: wall within 0.10 of the first")
    first = next(iter(per_row.values()))
    for name, times in per_row.items():
        show(name, times, first)
    return all(0.9 <= times[0] / first[0] <= 1.1 for times in per_row.values())


def segments(bench):
    """Append against exchange for ever shorter segments: finds `Finish::SMALL_SEGMENT`."""
    path = bench.file(bench.rows, sky=True)
    size = os.path.getsize(path)
    head("append against exchange, 128 MiB, all over the sky")
    for stripes in (10, 20, 40, 80, 160):
        division = ["--stripes", str(stripes), "--sub-stripes", "4", "--memory-limit", "128MiB"]
        cases = {
            f"{stripes} stripes, {finish}": ([path], division + ["--finish", finish])
            for finish in ("append", "exchange")
        }
        found = bench.compare(cases)
        chunks = 2 * 1.27 * stripes * stripes * 0.87
        # A run is about half of the limit.
        runs = max(1, size / (64 << 20))
        print(f"  about {size / chunks / runs / 1024:.1f} KiB a segment")
        base = next(iter(found.values()))
        for name, times in found.items():
            show(name, times, base)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help="memory, rows, segments")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--work", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    parser.add_argument("--binary", default=os.path.join(REPO, "target", "release", "skyprep"))
    arguments = parser.parse_args()
    benches = {"memory": memory, "rows": rows, "segments": segments}
    unknown = [what for what in arguments.what if what not in benches]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(benches)}")
    bench = Bench(arguments)
    try:
        is_kept = [benches[what](bench) for what in arguments.what or benches]
    finally:
        bench.close()
    print("all goals are met" if all(is_kept) else "a goal is missed")
    sys.exit(0 if all(is_kept) else 1)


if __name__ == "__main__":
    main()
