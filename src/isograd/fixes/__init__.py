"""Findings to fixes: candidates, trials on copies, patches of the user's source."""

from isograd.fixes.engine import Options as Options
from isograd.fixes.engine import tried as tried
from isograd.fixes.kind import applied as _applied
from isograd.fixes.kind import carried_out as _carried_out
from isograd.fixes.memento import Memento as _Memento
from isograd.fixes.setup import Setup as Setup
from isograd.fixes.workers import BACKENDS as BACKENDS
from isograd.records.fix import APPLIERS as _APPLIERS

_APPLIERS["apply"] = _applied
_APPLIERS["memento"] = _Memento
_APPLIERS["setup"] = lambda fix, *parts: _carried_out(fix, Setup(*parts))
