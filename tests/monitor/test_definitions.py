"""Definitions of a script are found without running it."""

import pytest

from isograd.monitor.definitions import Definitions, MissingNameError

SCRIPT = """
import math
from collections import OrderedDict as Ordered

WIDTH = 4
DEPTH = WIDTH * 2
ran = []
data = open("/nonexistent")


def helper(x):
    return math.sqrt(x) * DEPTH


if WIDTH > 2:
    def chosen():
        return "wide"
    ran.append("no")
else:
    def chosen():
        return "narrow"


class Base:
    width = WIDTH

    class Inner:
        pass


class Net(Base):
    def value(self):
        return helper(self.width)


for index in range(3):
    ran.append(index)

if __name__ == "__main__":
    ran.append("main")
    late = Net()
"""


@pytest.fixture
def definitions():
    return Definitions(SCRIPT, "/somewhere/script.py")


def test_what_is_wanted_is_defined_with_what_it_needs(definitions):
    assert definitions.get("Net")().value() == 16.0
    assert definitions.get("Base.Inner").__name__ == "Inner"
    assert definitions.get("chosen")() == "wide"
    assert definitions.get("Ordered").__name__ == "OrderedDict"


def test_nothing_is_run(definitions):
    definitions.get("Net")
    definitions.get("chosen")
    assert definitions.get("ran") == []


def test_what_is_missing_is_said(definitions):
    with pytest.raises(MissingNameError, match="not defined at the top level"):
        definitions.get("late")
    with pytest.raises(MissingNameError, match="FileNotFoundError"):
        definitions.get("data")


def test_lines_are_those_of_the_saved_source(definitions):
    import linecache

    line = definitions.get("helper").__code__.co_firstlineno
    assert linecache.getline("/somewhere/script.py", line).strip() == "def helper(x):"
