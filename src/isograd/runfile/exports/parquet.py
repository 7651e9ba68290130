"""A Parquet file; the run's facts are in its metadata under the key `isograd`."""

from __future__ import annotations

import json
from pathlib import Path

from isograd.records.run import Run
from isograd.runfile.exports import rows

NAME = "parquet"
EXTRA = "parquet"
SUFFIX = ".parquet"
DIRECTORY = False
HELP = "columns, for pandas, polars, DuckDB and Spark"


def write(run: Run, path: Path, wide: bool) -> None:
    """Write one file.

    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
    """
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    facts = {b"isograd": json.dumps({**run.meta, "verdict": run.verdict}).encode()}
    if wide:
        fields = [("step", pa.int64()), *((name, pa.float64()) for name in rows.columns(run))]
        schema = pa.schema(fields, metadata=facts)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for steps, values in rows.wide(run):
                arrays = [pa.array(steps), *(pa.array(column) for column in values.T)]
                writer.write_table(pa.table(arrays, schema=schema))
        return
    word = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [("step", pa.int64()), ("name", word), ("statistic", word), ("value", pa.float64())],
        metadata=facts,
    )
    names, statistics = (pa.array(words, pa.string()) for words in rows.vocabulary(run))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in rows.long(run):
            arrays = [
                pa.array(part.step),
                pa.DictionaryArray.from_arrays(part.name, names),
                pa.DictionaryArray.from_arrays(part.statistic, statistics),
                pa.array(part.value),
            ]
            writer.write_table(pa.table(arrays, schema=schema))
