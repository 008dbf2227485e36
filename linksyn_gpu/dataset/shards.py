"""Parquet files of bounded size with the Hub's names: `train-00000-of-00003.parquet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 8192


class ShardWriter:
    """Writes the rows of one split; use as a context manager.

    The number of files is known at the end: they get their names then.

    Parameters
    ----------
    folder : path
        Must exist.
    split : str
    schema : pyarrow.Schema
    shard_bytes : int
        A file is closed when it has this many bytes.
    """

    def __init__(self, folder: Path, split: str, schema: pa.Schema, shard_bytes: int) -> None:
        self._folder, self._split, self._schema, self._limit = folder, split, schema, shard_bytes
        self._parts: list[Path] = []
        self._batches: list[pa.RecordBatch] = []
        self._waiting = 0
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._write()
        self._close()
        for number, part in enumerate(self._parts if kind is None else ()):
            part.rename(self._folder / f"{self._split}-{number:05d}-of-{len(self._parts):05d}.parquet")

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows. Row groups have the same size, whatever the batches are."""
        self.rows += batch.num_rows
        while self._waiting + batch.num_rows >= ROWS_PER_GROUP:
            head = ROWS_PER_GROUP - self._waiting
            self._batches.append(batch.slice(0, head))
            self._write()
            batch = batch.slice(head)
        if batch.num_rows:
            self._batches.append(batch)
            self._waiting += batch.num_rows

    def write_rows(self, rows: Sequence[dict[str, object]]) -> None:
        """Append rows that are Python values."""
        import pyarrow as pa

        if rows:
            self.write(pa.RecordBatch.from_pylist(list(rows), schema=self._schema))

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._batches:
            return
        if self._writer is None:
            self._parts.append(self._folder / f"{self._split}-{len(self._parts):05d}.part")
            self._writer = pq.ParquetWriter(self._parts[-1], self._schema, compression="zstd")
        self._writer.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=ROWS_PER_GROUP)
        self._batches, self._waiting = [], 0
        if self._parts[-1].stat().st_size >= self._limit:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
