"""Rows of the whole step's numbers alone, many at once.

A training of quick steps leaves no time to write each one on its own. Such rows are gathered and
written together: for each a few microseconds, most of them for its checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from isograd.runfile.frames import CHECKED_FROM, CRC, HEAD, HEAD_TYPE, MARKER_NUMBER
from isograd.runfile.layout import Layout


def frames(
    layout: Layout, seq: int, steps: Sequence[int], numbers: Sequence[Sequence[float]]
) -> bytearray:
    """Frames of some rows, ready to be appended.

    Args:
        layout: One without names.
        seq: Number of the first record.
        steps: Training steps, growing.
        numbers: Scalars of each, [rows, scalars].

    Returns:
        The bytes of all of them, one after the other.

    Raises:
        ValueError: If a row has another number of scalars than the layout, or the layout names.
    """
    if layout.names or layout.row_bytes != 8 * len(layout.scalars):
        raise ValueError("rows of scalars alone need a layout without names")
    values = np.asarray(numbers, "f8")
    if values.shape != (len(steps), len(layout.scalars)):
        raise ValueError(f"expected {len(steps)} rows of {layout.scalars}, got {values.shape}.")
    rows = np.zeros(len(steps), [*HEAD_TYPE.descr, ("scalars", "<f8", (len(layout.scalars),))])
    rows["marker"], rows["length"] = MARKER_NUMBER, layout.row_bytes
    rows["kind"], rows["schema"] = layout.kind, layout.schema
    rows["step"], rows["seq"] = steps, np.arange(seq, seq + len(steps))
    rows["scalars"] = values
    out = bytearray(rows.tobytes())
    view = memoryview(out)
    size = HEAD.size + layout.row_bytes
    for begin in range(0, len(out), size):
        CRC.pack_into(out, begin + 4, zlib.crc32(view[begin + CHECKED_FROM : begin + size]))
    return out
