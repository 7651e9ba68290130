import struct
import sys

import numpy as np
import pytest

from isograd.errors import IsogradError
from isograd.reporters import map_png
from reporters.map_samples import made


@pytest.mark.parametrize(
    "found", [made(), made(limits=None), made(columns=1), made(columns=30, target="a.py:build")]
)
def test_a_picture_is_drawn(found):
    picture = map_png.picture(found)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">2I", picture[16:24]) == (1650, 690)


def test_places_among_the_cells():
    middles = np.array([5.0, 10.0, 20.0])
    found = map_png._place(middles, [5, 7.5, 15, 20, 25, 1e9, 4, -1e9, np.nan])
    expected = [0, 0.5, 1.5, 2, 2.5, 3, -0.2, -1, np.nan]
    np.testing.assert_allclose(found, expected)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(IsogradError, match=r"pip install 'isograd\[plots\]'"):
        map_png.picture(made())
