#!/usr/bin/env python3
"""A second opinion on how the stars fall into Qserv's chunks.

    python3 expected_counts.py . expected

Reads the Parquet files that `make_stars.py` has made and writes, for each chunk that has a row, in
the order of chunk ids

    star_chunks.csv         chunkId,rows,overlapRows: the stars
    photometry_chunks.csv   chunkId,rows: the measurements, each in the chunk of its star
    pair_chunks.csv         chunkId,rows,secondRows: the pairs; where the two stars lie in different
                            chunks a pair has a row in both, and the fainter star's is its second

and says the totals on stderr. It is written from the rules of the partitioning scheme and shares
no code with skyprep, so a test that finds both equal has compared two programs. It is slow on
purpose: one star at a time and nothing clever. Needs pyarrow. All angles are degrees.
"""

import math
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

STRIPES = 18
SUB_STRIPES = 10
OVERLAP = 0.01667

RAD_PER_DEG = 0.0174532925199432957692369076849
DEG_PER_RAD = 57.2957795130823208767981548141
# An upper longitude this close to 360 counts as 360: a thousandth of an arcsecond.
LONGITUDE_TOLERANCE = 0.001 / 3600
# A parallel higher than this is taken as the pole: it is less than an arcsecond away.
POLE_LATITUDE = 90 - 1 / 3600


class Chunker:
    """Divides the sphere into stripes, sub-stripes, chunks and sub-chunks."""

    def __init__(self, stripes, sub_stripes, overlap):
        self.stripes = stripes
        self.sub_stripes = sub_stripes
        self.overlap = overlap
        self.rows = stripes * sub_stripes
        self.row_height = 180 / self.rows

        stripe_height = 180 / stripes
        self.chunks_in_stripe = [
            segments(i * stripe_height - 90, (i + 1) * stripe_height - 90, stripe_height)
            for i in range(stripes)
        ]
        self.cells_in_chunk = []
        self.cell_width = []
        self.reach = []
        for row in range(self.rows):
            low, high = row * self.row_height - 90, (row + 1) * self.row_height - 90
            chunks = self.chunks_in_stripe[row // sub_stripes]
            cells = segments(low, high, self.row_height) // chunks
            self.cells_in_chunk.append(cells)
            self.cell_width.append(360 / (cells * chunks))
            self.reach.append(longitude_reach(overlap, max(abs(low), abs(high))))
        self.most_cells_in_chunk = max(self.cells_in_chunk)

    def cells_in_row(self, row):
        """The number of sub-chunks all around the sphere in a sub-stripe."""
        return self.cells_in_chunk[row] * self.chunks_in_stripe[row // self.sub_stripes]

    def ids(self, row, cell):
        """The chunk id and sub-chunk id of a sub-chunk."""
        stripe, row_in_stripe = divmod(row, self.sub_stripes)
        chunk, cell_in_chunk = divmod(cell, self.cells_in_chunk[row])
        return (
            stripe * 2 * self.stripes + chunk,
            row_in_stripe * self.most_cells_in_chunk + cell_in_chunk,
        )

    def cell_of(self, ra, dec):
        """The sub-stripe and sub-chunk number that a position lies in."""
        row = min(math.floor((dec + 90) / self.row_height), self.rows - 1)
        cell = min(math.floor(ra / self.cell_width[row]), self.cells_in_row(row) - 1)
        return row, cell

    def own(self, ra, dec):
        """The (chunk id, sub-chunk id) of a position."""
        return self.ids(*self.cell_of(ra, dec))

    def overlapping(self, ra, dec):
        """The (chunk id, sub-chunk id) of each sub-chunk that has a position in its overlap."""
        if self.overlap == 0:
            return []
        row, cell = self.cell_of(ra, dec)
        low = max(row * self.row_height - 90, -90)
        high = min((row + 1) * self.row_height - 90, 90)
        found = []
        if row > 0 and dec < low + self.overlap:
            found += self.near_in_row(row - 1, ra)
        if row < self.rows - 1 and dec >= high - self.overlap:
            found += self.near_in_row(row + 1, ra)

        cells = self.cells_in_row(row)
        if cells > 1:
            west = cell * self.cell_width[row]
            east = (cell + 1) * self.cell_width[row]
            if east > 360 - LONGITUDE_TOLERANCE:
                east = 360.0
            if ra < west + self.reach[row]:
                found.append(self.ids(row, (cell - 1) % cells))
            if ra > east - self.reach[row]:
                found.append(self.ids(row, (cell + 1) % cells))
        return found

    def near_in_row(self, row, ra):
        """The sub-chunks of a neighbouring sub-stripe whose overlap reaches a right ascension."""
        cells = self.cells_in_row(row)
        first = math.floor((ra - self.reach[row]) / self.cell_width[row])
        last = math.floor((ra + self.reach[row]) / self.cell_width[row])
        if first < 0:
            first += cells
        if last >= cells:
            last -= cells
        if first <= last:
            numbers = list(range(first, last + 1))
        else:
            numbers = list(range(first, cells)) + list(range(0, last + 1))
        return [self.ids(row, number) for number in numbers]


def segments(low, high, width):
    """How many pieces of at least `width` fit around the sphere between two parallels."""
    latitude = max(abs(low), abs(high))
    if latitude > POLE_LATITUDE or width >= 180:
        return 1
    cos_width = math.cos(width * RAD_PER_DEG)
    sin_latitude = math.sin(latitude * RAD_PER_DEG)
    cos_latitude = math.cos(latitude * RAD_PER_DEG)
    x = cos_width - sin_latitude * sin_latitude
    u = cos_latitude * cos_latitude
    y = math.sqrt(abs(u * u - x * x))
    return math.floor(360 / abs(DEG_PER_RAD * math.atan2(y, x)))


def longitude_reach(radius, latitude):
    """How far a circle around a point at `latitude` stretches to either side in longitude."""
    if radius == 0:
        return 0.0
    if abs(latitude) + radius > POLE_LATITUDE:
        return 180.0
    below = math.cos((latitude - radius) * RAD_PER_DEG)
    above = math.cos((latitude + radius) * RAD_PER_DEG)
    sin_radius = math.sin(radius * RAD_PER_DEG)
    return DEG_PER_RAD * abs(math.atan(sin_radius / math.sqrt(abs(below * above))))


def read(path, *names):
    """The rows of a Parquet file, or of all in a folder in the order of names."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        table = pq.read_table(file, columns=list(names))
        yield from zip(*(table[name].to_pylist() for name in names))


def count_stars(data, chunker):
    """The rows and overlap rows of the stars by chunk, and the chunk of each star."""
    own, overlap, home = Counter(), Counter(), {}
    for star_id, ra, dec in read(data / "stars", "star_id", "ra_degrees", "dec_degrees"):
        home[star_id] = chunker.own(ra, dec)[0]
        own[home[star_id]] += 1
        overlap.update(chunk for chunk, _ in chunker.overlapping(ra, dec))
    return own, overlap, home


def count_pairs(data, home):
    """The rows of the pairs by chunk, and how many of these are second ones."""
    rows, second = Counter(), Counter()
    for brighter, fainter in read(data / "pairs.parquet", "star_id1", "star_id2"):
        rows[home[brighter]] += 1
        if home[fainter] != home[brighter]:
            rows[home[fainter]] += 1
            second[home[fainter]] += 1
    return rows, second


def write_counts(path, **columns):
    """Write one CSV file with a line for each chunk that any of the counters has."""
    chunks = sorted(set().union(*columns.values()))
    lines = [",".join(["chunkId", *columns])]
    for chunk in chunks:
        numbers = [chunk, *(counter[chunk] for counter in columns.values())]
        lines.append(",".join(map(str, numbers)))
    path.write_text("\n".join(lines) + "\n")
    totals = (f"{len(c)} chunks with {c.total()} {name}" for name, c in columns.items())
    print(f"{path}: {', '.join(totals)}", file=sys.stderr)


def main():
    """Count the rows of each chunk and write them down."""
    if len(sys.argv) != 3:
        sys.exit("usage: expected_counts.py DATA_FOLDER OUT_FOLDER")

    data, out = map(Path, sys.argv[1:])
    rows, overlap, home = count_stars(data, Chunker(STRIPES, SUB_STRIPES, OVERLAP))
    write_counts(out / "star_chunks.csv", rows=rows, overlapRows=overlap)
    points = Counter(home[star_id] for (star_id,) in read(data / "photometry", "star_id"))
    write_counts(out / "photometry_chunks.csv", rows=points)
    rows, second = count_pairs(data, home)
    write_counts(out / "pair_chunks.csv", rows=rows, secondRows=second)


if __name__ == "__main__":
    main()
