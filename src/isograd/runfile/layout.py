"""What the numbers of a row mean, and how a row is packed.

A row's payload is the scalars as float64, then the values [names, statistics] as float32 or
float64, all little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isograd.runfile.frames import CHECKED_FROM, CRC, HEAD, MARKER, MAX_PAYLOAD, Kind

DTYPES = {"float32": "<f4", "float64": "<f8"}
TABLES = {"steps": Kind.STEP, "layers": Kind.LAYERS}
_SCALAR_BYTES = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of a row.

    Attributes:
        schema: Number by which rows name it; unique in a run.
        table: `steps` or `layers`.
        names: Names of the parameters (or modules).
        statistics: What is measured of each.
        scalars: Numbers of the whole step; the first of `steps` is `time`.
        dtype: `float32` or `float64`, of the values.
    """

    schema: int
    table: str
    names: tuple[str, ...]
    statistics: tuple[str, ...]
    scalars: tuple[str, ...]
    dtype: str

    def __post_init__(self) -> None:
        for words in (self.names, self.statistics, self.scalars):
            if not all(isinstance(word, str) for word in words) or len(set(words)) != len(words):
                raise ValueError("names must be distinct strings")
        if self.dtype not in DTYPES or self.table not in TABLES:
            raise ValueError(f"unknown dtype {self.dtype!r} or table {self.table!r}")
        if not (isinstance(self.schema, int) and 0 <= self.schema < 1 << 16):
            raise ValueError(f"schema must be in 0..65535, got {self.schema!r}")
        if self.row_bytes > MAX_PAYLOAD:
            raise ValueError(f"a row of {self.row_bytes} bytes is longer than {MAX_PAYLOAD}")

    @property
    def kind(self) -> Kind:
        """Kind of frame its rows travel in."""
        return TABLES[self.table]

    @property
    def row_bytes(self) -> int:
        """Length of a row's payload."""
        cells = len(self.names) * len(self.statistics)
        return _SCALAR_BYTES * len(self.scalars) + np.dtype(DTYPES[self.dtype]).itemsize * cells

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": self.schema,
            "table": self.table,
            "names": self.names,
            "statistics": self.statistics,
            "scalars": self.scalars,
            "dtype": self.dtype,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """Inverse of `to_dict`.

        Raises:
            ValueError: If a field is missing or does not fit.
        """
        try:
            return cls(
                schema=data["schema"],
                table=data["table"],
                names=tuple(data["names"]),
                statistics=tuple(data["statistics"]),
                scalars=tuple(data["scalars"]),
                dtype=data["dtype"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no layout: {error!r}") from None

    def unpack(self, rows: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scalars and values of some rows.

        Args:
            rows: Payloads, [rows, row_bytes].

        Returns:
            Scalars [rows, scalars] and values [rows, names, statistics]; views, not aligned.
        """
        split = _SCALAR_BYTES * len(self.scalars)
        shape = (len(rows), len(self.names), len(self.statistics))
        values = rows[:, split:].view(DTYPES[self.dtype]).reshape(shape)
        return rows[:, :split].view("<f8"), values


class RowFrame:
    """A frame that is filled again at each step, so that a step allocates nothing.

    Args:
        layout: What its rows mean.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.data = bytearray(HEAD.size + layout.row_bytes)
        self.kind = int(layout.kind)
        self.schema = layout.schema
        self._checked = memoryview(self.data)[CHECKED_FROM:]
        self._scalars = struct.Struct(f"<{len(layout.scalars)}d")
        start = HEAD.size + self._scalars.size
        self._shape = (len(layout.names), len(layout.statistics))
        self._values = np.frombuffer(self.data, DTYPES[layout.dtype], offset=start).reshape(
            self._shape
        )

    def fill(
        self, step: int, seq: int, flags: int, scalars: Sequence[float], values: Any
    ) -> bytearray:
        """Bytes of the frame of one row; valid until the next call.

        Raises:
            ValueError: If the row does not fit the layout.
        """
        values = np.asarray(values)
        if values.shape != self._shape:
            raise ValueError(f"`values` must have shape {self._shape}, got {values.shape}.")
        if values.dtype == self._values.dtype:
            self._values[...] = values
        else:
            with np.errstate(over="ignore"):  # becomes infinite, and stays visible as such
                self._values[...] = values
        data = self.data
        try:
            self._scalars.pack_into(data, HEAD.size, *scalars)
        except struct.error:
            raise ValueError(
                f"expected the numbers {self.layout.scalars}, got {tuple(scalars)!r}."
            ) from None
        length = len(data) - HEAD.size
        HEAD.pack_into(data, 0, MARKER, 0, length, self.kind, flags, self.schema, step, seq)
        CRC.pack_into(data, 4, zlib.crc32(self._checked))
        return data
