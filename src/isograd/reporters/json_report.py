"""The diagnosis as JSON, for other programs.

NaN and infinity have no JSON form; the records encode them as the strings "nan", "inf" and
"-inf", so that a strict parser reads every report.
"""

from __future__ import annotations

import json

from isograd.records.finding import Diagnosis


def dumps(diagnosis: Diagnosis) -> str:
    """Write a diagnosis as indented JSON text that `Diagnosis.from_dict` can read back."""
    return json.dumps(diagnosis.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
