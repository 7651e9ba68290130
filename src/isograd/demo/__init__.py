"""The experiment that started the project: sigmoid layers, the first of which does not learn.

digits.py     1,000 handwritten digits to train on, 797 to score on
classic.py    the net, its loss and its training, as in Nielsen, chapter 5
remedies.py   changes to the net, one small function each
run.py        train, measure, try the remedies, keep the one that measured best
story.py      the printed account
"""

from __future__ import annotations

from isograd.demo.run import SEED as SEED
from isograd.demo.run import run as run

__all__ = ["SEED", "run"]
