"""The formats of the table. Each writes rows to a binary stream as they come, and keeps none of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Final

from ticketmaster.errors import UsageError
from ticketmaster.export.rows import Row, seats_text, time_text

# Takes the rows and where to write them.
Write = Callable[[Iterable[Row], BinaryIO], None]

COLUMNS: Final = Row._fields
# A spreadsheet runs what begins like this as a formula. The wide forms are those of East Asian keyboards.
_begins_a_formula = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]").match
# Parquet is written by groups of rows.
_GROUP_ROWS: Final = 50_000
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def as_cell(text: str) -> str:
    """Text as a spreadsheet may have it: what would be a formula begins with an apostrophe, which makes it text."""
    return f"'{text}" if _begins_a_formula(text) else text


def write_csv(rows: Iterable[Row], out: BinaryIO) -> None:
    """CSV as of RFC 4180, in UTF-8, with a line of column names."""
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(map(_cells, rows))
    finally:
        # The stream is its owner's to close.
        text.detach()


def _cells(row: Row) -> tuple[str | int, ...]:
    return (
        row.reservationId,
        as_cell(row.userId),
        as_cell(row.eventId),
        as_cell(row.areaId),
        row.type,
        row.numOfSeats,
        as_cell(seats_text(row.areaId, row.seats)),
        row.state,
        as_cell(row.failedReason),
        time_text(row.holdExpiresAt) if row.holdExpiresAt else "",
        as_cell(row.paymentReference or ""),
        time_text(row.requestedAt) if row.requestedAt else "",
    )


def write_jsonl(rows: Iterable[Row], out: BinaryIO) -> None:
    """A JSON object a line, in ASCII: it means the same to every program, and nothing to a terminal."""
    for row in rows:
        document = row._asdict() | {
            "seats": [{"row": seat_row, "col": col} for seat_row, col in row.seats],
            "holdExpiresAt": time_text(row.holdExpiresAt) if row.holdExpiresAt else None,
            "requestedAt": time_text(row.requestedAt) if row.requestedAt else None,
        }
        out.write(f"{_encode(document)}\n".encode())


def _write_parquet(rows: Iterable[Row], out: BinaryIO) -> None:
    import pyarrow as pa  # noqa: PLC0415 - an extra, see parquet_writer()
    from pyarrow import parquet  # noqa: PLC0415

    text, time = pa.string(), pa.timestamp("ms", tz="UTC")
    seats = pa.list_(pa.struct([pa.field("row", pa.int64(), nullable=False), pa.field("col", pa.int64(), nullable=False)]))
    kinds = {"numOfSeats": pa.int64(), "seats": seats, "holdExpiresAt": time, "requestedAt": time}
    empty = {"holdExpiresAt", "paymentReference", "requestedAt"}
    schema = pa.schema([pa.field(name, kinds.get(name, text), nullable=name in empty) for name in COLUMNS])
    with parquet.ParquetWriter(out, schema) as writer:
        for group in _groups(rows):
            columns = dict(zip(COLUMNS, map(list, zip(*group, strict=True)), strict=True))
            columns["seats"] = [[{"row": row, "col": col} for row, col in taken] for taken in columns["seats"]]
            writer.write_table(pa.table(columns, schema=schema))


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while group := list(islice(rest, _GROUP_ROWS)):
        yield group


def _parquet() -> Write:
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415
    except ImportError as cause:
        raise UsageError(
            "--format parquet needs pyarrow, the extra ticketmaster[parquet], which is not installed: pip install pyarrow"
        ) from cause
    return _write_parquet


_FORMATS: Final[dict[str, Callable[[], Write]]] = {"csv": lambda: write_csv, "jsonl": lambda: write_jsonl, "parquet": _parquet}


def writer_of(name: str) -> Write:
    """What writes a format. UsageError: this installation can't."""
    return _FORMATS[name]()
