"""The map in a terminal, whole, in both languages and at any width."""

import math
import re

import pytest
from rich.cells import cell_len

from isograd.reporters import map_texts
from isograd.reporters.map_view import MapReport
from reporters.map_samples import made

CHINESE = re.compile(r"[\u3400-\u9fff]")

EXPECTED = """\
trainability of tanh nets
width 128, sigma_b 0.224, 200 steps of 64 samples, scikit-learn's 1797
handwritten digits, SGD, rate 1 / sharpness of each net, 2 seeds

training success
accuracy on the training data, 0 = chance, 1 = all right
                  ▲
   20 │░░░░░░░░▓▓▓▓▓▓▓▓░░░░░░░░
      │░░░░░░░░▓▓▓▓▓▓▓▓━━━━━━━━
   10 │▒▒▒▒▒▒▒▒████████░░░░░░░░
      │━━━━━━━━████████░░░░░░░░
    5 │████████████████????????
      │████████████████????????

      └────────────────────────
         0.5      1       2
depth ↑   sigma_w →
       │┄┄┄ ordered ┄┄┄│
[  ] 0-0.1  [░░] 0.1-0.35  [▒▒] 0.35-0.65  [▓▓] 0.65-0.9  [██] 0.9-1
━━ theory: nets train to 6 depth scales  ▲ the line lies deeper, ▼ shallower
than the map

gain from the last to the first layer, in decades
log10 of the gradient's norm at the first layer / at the last, before training;
negative: it vanishes, positive: it explodes
   20 │ -12.3   -0.50   +4.00
   10 │ -6.00   -0.20   +2.00
    5 │  -inf    0.00     ?
      └────────────────────────
         0.5      1       2
depth ↑   sigma_w →
       │┄┄┄ ordered ┄┄┄│

edge of chaos at sigma_w = 1.327
75 % of 8 cells lie on the side of the line that the theory says (success 0.5 or
more up to it)
ordered: nets train to 1.33 times the line's depth (median)
interrupted: 8 of 9 cells measured; run it again to go on
1 cell without a number or diverged (training), depth 20, scale 2: the loss is
nan after 13 steps
"""


def test_whole_report():
    assert MapReport(made()).text(80).replace("\N{NO-BREAK SPACE}", " ") == EXPECTED


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("columns", [1, 3, 12, 60])
def test_fits_the_width(lang, width, columns):
    lines = MapReport(made(columns=columns), lang).text(width).splitlines()
    assert max(map(cell_len, lines)) <= max(width, 60)


def test_narrow_cells_say_less_and_many_columns_are_thinned():
    text = MapReport(made(columns=60)).text(80)
    assert "1 of 3 scales shown, of 60" in text
    assert " -- " in text
    assert "+4" in MapReport(made(columns=14)).text(80)


def test_without_a_line_the_report_says_why():
    text = MapReport(made(limits=None)).text(100)
    assert "theory: none without --activation" in text
    assert "━" not in text
    gone = made(limits=[None] * 3, kind="none: diverges")
    text = MapReport(gone).text(100)
    assert "it has no number for any of these (the variance diverges)" in text
    part = made(limits=[30.0, None, None], kind="none: diverges")
    text = MapReport(part).text(100)
    assert "no number from the theory at sigma_w 1 … 2: the variance diverges" in text
    assert "━━ theory" in text


def test_colour_only_repeats_what_signs_say():
    lines = MapReport(made()).lines(80)
    styles = {span.style for line in lines for span in line.spans}
    assert {"bold blue", "bold red", "bold magenta"} <= styles


@pytest.mark.parametrize("name", map_texts.texts())
def test_a_text_says_the_same_in_both_languages(name):
    english, chinese = map_texts.texts()[name]
    assert not CHINESE.search(english)
    fields = [sorted(re.findall(r"\{\w+\}", text)) for text in (english, chinese)]
    assert fields[0] == fields[1]
    assert english.count("`") == chinese.count("`")
    assert not re.search(r"[\u3400-\u9fff][,:;()]|[,:;(][\u3400-\u9fff]", chinese)


def test_unknown_language_is_refused():
    with pytest.raises(ValueError, match="`lang` must be one of en, zh"):
        MapReport(made(), "fr")


def test_sample_has_what_the_tests_need():
    assert math.isnan(made().success[0, 2])
    assert made().limits().tolist() == [7.5, 600.0, 18.0]
