#!/usr/bin/env python3
"""A second opinion on how the stars fall into Qserv's chunks.

    python3 expected_counts.py STARS_FOLDER > expected/star_chunks.csv

Prints `chunkId,rows,overlapRows` for each chunk that has a row, in the order of chunk ids, and the
totals on stderr. It is written from the rules of the partitioning scheme and shares no code with
skyprep, so a test that finds both equal has compared two programs. It is slow on purpose: one
star at a time and nothing clever. Needs pyarrow. All angles are degrees.
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


def main():
    """Count the rows of each chunk and print them."""
    if len(sys.argv) != 2:
        sys.exit("usage: expected_counts.py STARS_FOLDER > CSV")

    chunker = Chunker(STRIPES, SUB_STRIPES, OVERLAP)
    own, overlap = Counter(), Counter()
    for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
        table = pq.read_table(path, columns=["ra_degrees", "dec_degrees"])
        for ra, dec in zip(table["ra_degrees"].to_pylist(), table["dec_degrees"].to_pylist()):
            own[chunker.own(ra, dec)[0]] += 1
            overlap.update(chunk for chunk, _ in chunker.overlapping(ra, dec))

    print("chunkId,rows,overlapRows")
    for chunk in sorted(own.keys() | overlap.keys()):
        print(f"{chunk},{own[chunk]},{overlap[chunk]}")
    print(
        f"{len(own)} chunk files with {own.total()} rows,"
        f" {len(overlap)} overlap files with {overlap.total()} rows",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
