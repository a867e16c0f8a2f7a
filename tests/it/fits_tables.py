"""Writes FITS tables with astropy, and beside each what its cells hold, as the arrays say it.

    fits_tables.py OUT.fits ROWS SEED

makes OUT.fits, with a column of each kind, and OUT.json: for each column its name, its kind and the
value of each row (NULL is null; what JSON has no number for is a text).
"""

import json
import sys

import numpy as np
from astropy.io import fits

path, rows, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(seed)
columns, said = [], []


def plain(value):
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (np.bool_, bool)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (np.complexfloating, complex)):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, (np.floating, float)):
        return float(value) if np.isfinite(value) else str(float(value))
    return value


def add(name, kind, column, values):
    columns.append(column)
    said.append({"name": name, "kind": kind, "values": [plain(value) for value in values]})


def floats(dtype):
    values = random.normal(size=rows) * 10.0 ** random.integers(-30, 30, rows)
    special = [np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).max, np.finfo(dtype).tiny / 8]
    values = values.astype(dtype)
    values[: len(special)] = special[:rows]
    return values


def integers(dtype):
    limits = np.iinfo(dtype)
    values = random.integers(limits.min, limits.max, rows, dtype=dtype, endpoint=True)
    values[:2] = [limits.min, limits.max][:rows]
    return values


def texts(count, most, alphabet="abc XYZ\\\t,'\"09"):
    def one():
        length = random.integers(0, most + 1)
        return "".join(random.choice(list(alphabet), length)).rstrip(" ")

    return [one() for _ in range(count)]


logicals = random.integers(0, 2, rows).astype(bool)
add("logical", "bool", fits.Column("logical", "L", array=logicals), logicals)
for name, code in [("u1", "B"), ("i2", "I"), ("i4", "J"), ("i8", "K")]:
    values = integers(name)
    add(name, "whole", fits.Column(name, code, array=values), values)
for name, code, bits in [("u2", "I", 16), ("u4", "J", 32), ("u8", "K", 64)]:
    values = integers(name)
    add(name, "whole", fits.Column(name, code, bzero=2 ** (bits - 1), array=values), values)
for name, code in [("f4", "E"), ("f8", "D")]:
    values = floats(name)
    add(name, name, fits.Column(name, code, array=values), values)
values = integers("i2")
values[random.integers(0, rows, rows // 3)] = -99
nulled = [None if value == -99 else value for value in values]
add("nulled", "whole", fits.Column("nulled", "I", null=-99, array=values), nulled)
# What makes floats of it is added to the header in the end.
raw = random.integers(-3000, 3000, rows).astype("i2")
add("scaled", "f8", fits.Column("scaled", "I", array=raw), raw * 0.25 + 5.0)
values = texts(rows, 12)
add("text", "text", fits.Column("text", "12A", array=np.array(values, "S12")), values)
values = random.normal(size=(rows, 3)).astype("f4")
add("three", "f4", fits.Column("three", "3E", array=values), values)
values = random.integers(-9, 9, (rows, 2, 3)).astype("i4")
add("table", "whole", fits.Column("table", "6J", dim="(3,2)", array=values), values)
values = random.integers(0, 2, (rows, 11)).astype(bool)
add("bits", "bool", fits.Column("bits", "11X", array=values), values)
values = (random.normal(size=rows) + 1j * random.normal(size=rows)).astype("c16")
add("complex", "f8", fits.Column("complex", "M", array=values), values)
values = [texts(3, 4, "abc") for _ in range(rows)]
array = np.array([[text.ljust(4) for text in three] for three in values], "S4")
add("names", "list", fits.Column("names", "12A", dim="(4,3)", array=array), values)
for name, code, dtype in [("ints", "PJ()", "i4"), ("doubles", "QD()", "f8")]:
    values = [random.integers(-99, 99, random.integers(0, 5)).astype(dtype) for _ in range(rows)]
    array = np.empty(rows, object)
    array[:] = values
    add(name, "whole" if dtype == "i4" else "f8", fits.Column(name, code, array=array), values)
values = texts(rows, 30)
array = np.empty(rows, object)
array[:] = [list(value) for value in values]
add("long", "text", fits.Column("long", "PA()", array=np.array(values, object)), values)

table = fits.BinTableHDU.from_columns(columns, name="STARS")
other = fits.BinTableHDU.from_columns([fits.Column("n", "J", array=np.arange(3))], name="OTHER")
image = fits.ImageHDU(np.zeros((5, 7)), name="PICTURE")
fits.HDUList([fits.PrimaryHDU(), image, table, other]).writeto(path)
number = 1 + [column["name"] for column in said].index("scaled")
fits.setval(path, f"TSCAL{number}", value=0.25, extname="STARS")
fits.setval(path, f"TZERO{number}", value=5.0, extname="STARS")
with open(path.removesuffix(".fits") + ".json", "w") as out:
    json.dump(said, out)
