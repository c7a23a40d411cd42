"""CSV files whose every row carries a digest in its last column, so that a damaged one is seen."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from convc.build.files import read_whole
from convc.errors import DataError

COLUMN = "sha256"
DIGITS = 16


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The header, then the rows, each with the digest of its other fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, COLUMN])
    for row in rows:
        fields = [str(field) for field in row]
        writer.writerow([*fields, row_digest(fields)])
    return text.getvalue()


def read_rows(path: Path, columns: Sequence[str], remedy: str) -> Iterator[tuple[int, list[str]]]:
    """The line, from 2, and the fields without the digest of every row of a file that `csv_text` wrote.

    Raises DataError, naming the file and the line, for any other file and for a row that is damaged; `remedy` says
    what to do about that.
    """
    try:
        text = read_whole(path).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); {remedy}") from None
    reader = csv.reader(io.StringIO(text))
    header = [*columns, COLUMN]
    try:
        if next(reader, []) != header:
            raise DataError(f"the header must be {','.join(header)}; {remedy}")
        for row in reader:
            if len(row) != len(header):
                raise DataError(f"a row has {len(header)} fields, this one has {len(row)}; {remedy}")
            *fields, digest = row
            if digest != row_digest(fields):
                raise DataError(f"the row is damaged: its {COLUMN} is not that of its other fields; {remedy}")
            yield reader.line_num, fields
    except (DataError, csv.Error) as error:
        reason = error if isinstance(error, DataError) else f"the row is damaged ({error}); {remedy}"
        raise DataError(f"{path}, line {max(reader.line_num, 1)}: {reason}") from None


def row_digest(fields: Sequence[str]) -> str:
    """The first 16 hex digits of the SHA-256 of the fields, joined by commas, in UTF-8."""
    return hashlib.sha256(",".join(fields).encode()).hexdigest()[:DIGITS]
