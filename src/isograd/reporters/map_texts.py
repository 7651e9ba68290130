"""The words of a map, in English and Chinese, and the sentences that all its reports share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

from isograd.records.trainability import Trainability
from isograd.reporters import numbers
from isograd.reporters.language import LANGUAGES, Say


@cache
def texts() -> dict[str, tuple[str, str]]:
    """All texts by name, English and Chinese; in braces what is filled in."""
    file = resources.files("isograd.reporters") / "map_assets" / "texts.json"
    pairs = json.loads(file.read_text(encoding="utf-8"))
    return {name: (pair[0], pair[1]) for name, pair in pairs.items()}


def teller(lang: str) -> Say:
    """A function that fills in the text of a name.

    Raises:
        ValueError: If there is no such language.

    >>> teller("en")("seeds.many", n=3)
    '3 seeds'
    """
    if lang not in LANGUAGES:
        raise ValueError(f"`lang` must be one of {', '.join(LANGUAGES)}, got {lang!r}.")
    column = LANGUAGES.index(lang)

    def tell(name: str, /, **values: object) -> str:
        text = texts()[name][column]
        for key, value in values.items():
            text = text.replace("{" + key + "}", str(value))
        return text

    return tell


def title(found: Trainability, lang: str) -> str:
    """One line that says what was mapped."""
    tell, settings = teller(lang), found.settings
    if settings.get("target"):
        return tell("title.build", name=Path(str(settings["target"])).name)
    return tell("title", name=settings.get("activation", ""))


def facts(found: Trainability, lang: str) -> str:
    """One line that says how."""
    tell, settings = teller(lang), found.settings
    rate = settings.get("rate")
    if found.axis == "learning_rate":
        how = tell("rate.axis")
    elif rate is not None:
        how = tell("rate.fixed", rate=numbers.plain(rate))
    else:
        how = tell("rate.own", rate="0.01") if settings.get("target") else tell("rate.auto")
    seeds = tell("seeds.one") if found.wanted == 1 else tell("seeds.many", n=found.wanted)
    values = {**settings, "rate": how, "seeds": seeds}
    if settings.get("target"):
        return tell("facts.build", **values)
    values["data"] = tell(f"data.{found.task}")
    values["sigma_b"] = numbers.plain(float(settings["sigma_b"]))
    line = tell("facts.family", **values)
    if found.axis == "learning_rate":
        line += (", " if lang == "en" else "，") + tell(
            "facts.sigma_w", value=numbers.plain(float(settings["sigma_w"]))
        )
    return line


def notes(found: Trainability, lang: str) -> Iterator[str]:
    """Sentences below the maps: the edge, the line, how well it fits, what is missing."""
    tell = teller(lang)
    if found.theory is None:
        yield tell("line.unasked")
    else:
        if found.theory.critical is not None:
            yield tell("edge.at", value=f"{found.theory.critical:.4g}")
        else:
            yield tell("edge.none", text=found.theory.text)
        yield from _missing(found, lang)
        agreed = found.agreement()
        if agreed is not None:
            yield tell("agreement", share=round(100 * agreed.right), cells=agreed.cells)
            for side in agreed.sides:
                if not math.isnan(side.ratio):
                    known = not math.isnan(side.correlation)
                    yield tell(
                        "side.correlated" if known else "side",
                        phase=tell(f"phase.{side.phase}"),
                        ratio=numbers.number(side.ratio),
                        r=f"{side.correlation:.2f}",
                        n=side.scales,
                    )
    if found.stopped:
        yield tell(f"stopped.{found.stopped}", done=found.measured, all=found.success.size)
    groups: dict[str, list[int]] = {}
    for i, failure in enumerate(found.failures):
        groups.setdefault(failure.stage, []).append(i)
    for stage, members in groups.items():
        first = found.failures[members[0]]
        yield tell(
            "failed.one" if len(members) == 1 else "failed",
            n=len(members),
            stage=tell(f"stage.{stage}"),
            depth=first.depth,
            scale=numbers.plain(first.scale),
            reason=first.reason,
        )


def _missing(found: Trainability, lang: str) -> Iterator[str]:
    """Where the theory has no number, and why."""
    tell, kinds = teller(lang), dict[str, list[float]]()
    assert found.theory is not None
    own = set(found.scales.tolist())
    for point in found.theory.points:
        if point.limit is None and (point.scale in own or found.axis == "learning_rate"):
            kinds.setdefault(point.kind, []).append(point.scale)
    if kinds and all(point.limit is None for point in found.theory.points):
        yield (
            tell("line.none")
            + (" (" if lang == "en" else "（")
            + ", ".join(tell(f"kind.{kind}") for kind in kinds)
            + (")" if lang == "en" else "）")
        )
        return
    for kind, scales in kinds.items():
        where = numbers.plain(scales[0])
        if len(scales) > 1:
            where += f" … {numbers.plain(scales[-1])}"
        yield tell("line.gaps", scales=f"sigma_w {where}", kinds=tell(f"kind.{kind}"))
