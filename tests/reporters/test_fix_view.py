"""The table of trials, at the widths of terminals, in both languages."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from isograd.records import Finding
from isograd.records.fix import Fix, Measured, Trial
from isograd.reporters.fix_view import FixReport

FINDING = Finding("G101", "gradient vanishes", "warning", "activation-derivative")
BEFORE = Measured(2.303, 2.301, 2.305, 2.31, 0.102, -7.96, 6.91e6, {}, 8770, 0.0010, (2.3,) * 200)
CHANCE = Measured(2.2, 1.9, 2.4, 2.31, 0.11, None, None, {}, 8770, 0.0010, (2.2,) * 200)
SELU = Measured(0.191, 0.18, 0.21, 2.31, 0.992, -0.65, 2.67, {}, 8770, 0.00102, (0.2,) * 200)
NORMED = Measured(0.44, 0.4, 0.5, 2.31, 0.94, -0.9, 1.5, {}, 9250, 0.0015, (0.4,) * 200)
FAILED = Measured(float("nan"))


def fix(title, **more):
    return Fix("activation", title, **more)


TRIALS = [
    Trial(fix("SELU instead of sigmoid, LeCun initialisation"), FINDING, BEFORE, SELU, CHANCE,
          -1.11, "proven", "", 0.0002, 3, ()),
    Trial(fix("a norm before each activation"), FINDING, BEFORE, NORMED, CHANCE, None, "no better",
          "no better than no change beyond the scatter of seeds", 0.04, 6, ()),
    Trial(fix("orthogonal weights"), FINDING, BEFORE, FAILED, None, None, "failed",
          "took longer than 20 s"),
]  # fmt: skip

GOLDEN = """\
proven: SELU instead of sigmoid, LeCun initialisation; the loss ends at 0.191
instead of 2.30

    for   decades (theory)   spread                  loss   score   time       p
    no change
                     -7.96  6.91e6x     2.30 [2.30, 2.31]  10.2 %
 1  proven  SELU instead of sigmoid, LeCun initialisation
    G101     -0.65 (-1.11)    2.67x  0.191 [0.180, 0.210]  99.2 %  x1.02  <0.001
 2  no better  a norm before each activation  (parameters +480)
    G101             -0.90    1.50x  0.440 [0.400, 0.500]  94.0 %  x1.50   0.040
    no better than no change beyond the scatter of seeds
 3  failed  orthogonal weights
    G101
    took longer than 20 s

decades: of the product down to the first layer, with theory's prediction.
spread: learning speed of the fastest layer / slowest. loss, score: after 200
steps, with the smallest and largest. time: per step, against no change.
proven: better than no change (p, paired by seed, 3 fresh seeds or twice as
many) and than random changes; these seeds played no part in choosing the fix.

before and after: SELU instead of sigmoid, LeCun initialisation
                            no change  random change   fixed
decades to the first layer      -7.96                  -0.65
fastest layer / slowest       6.91e6x                  2.67x
loss at the end                  2.30           2.20   0.191
score at the end               10.2 %         11.0 %  99.2 %
parameters                      8,770          8,770   8,770
"""


def rendered(trials, width, lang="en", **options):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(FixReport(trials, lang, **options))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_the_table_at_80_columns():
    assert rendered(TRIALS, 80) + "\n" == GOLDEN


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width, lang):
    assert max(map(cell_len, rendered(TRIALS, width, lang).splitlines())) <= width


def test_a_narrow_terminal_drops_the_ranges():
    text = rendered(TRIALS, 68)
    assert "[0.180, 0.210]" not in text.partition("before and after")[0]
    assert "<0.001" in text


def test_only_the_best_are_shown_unless_asked():
    many = TRIALS[:1] + TRIALS[1:2] * 12
    assert "5 more trials: --full shows them." in rendered(many, 80)
    assert "more trials" not in rendered(many, 80, full=True)


def test_no_trials_at_all():
    assert rendered([], 80) == "No fix of the catalogue fits these findings."


def test_a_time_limit_that_was_too_short_is_told_with_what_to_do():
    late = Trial(
        fix("a norm"), FINDING, BEFORE, FAILED, None, None, "not judged", "no time was left"
    )
    text = " ".join(rendered([*TRIALS, late], 80, seconds=2.0).split())
    assert "Time was up: 1 of 4 fixes were not tried to the end." in text
    assert "`--time-limit` more than the 2 seconds" in text
    assert "未作评判" in rendered([late], 80, "zh", seconds=2.0)
    assert "Time was up" not in rendered(TRIALS, 80, seconds=2.0)
