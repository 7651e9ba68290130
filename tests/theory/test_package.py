"""The package's surface and what importing it costs."""

import subprocess
import sys

import pytest

from isograd import theory
from isograd.theory import laws


def test_every_name_is_there_once_and_documented():
    assert len(set(theory.__all__)) == len(theory.__all__)
    for name in theory.__all__:
        assert hasattr(theory, name), name
    assert set(laws.__all__) <= set(theory.__all__)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import isograd.theory", "torch"),
        ("import isograd", "isograd.theory"),
        ("import isograd", "scipy"),
    ],
)
def test_imports_stay_light(statement, absent):
    code = f"import sys; {statement}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_light_import_test_can_fail():
    code = "import sys, isograd.theory; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


def test_without_scipy_the_extra_is_named():
    code = "import sys; sys.modules['scipy'] = None; import isograd.theory"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "isograd.theory needs scipy: pip install 'isograd[theory]'" in done.stderr
