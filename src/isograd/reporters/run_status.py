"""The status line of a running training, and the lines at its end."""

from __future__ import annotations

import os
from pathlib import Path

from rich.text import Text

from isograd.records.run_status import RunStatus
from isograd.reporters import bad_step_view
from isograd.reporters.language import speaker

ZH = {
    "step {n}": "第 {n} 步",
    "loss {x}": "损失 {x}",
    "slowest {name} {x}": "最慢 {name} {x}",
    "fastest {name} {y}": "最快 {name} {y}",
    "{n} alarms": "{n} 个警报",
    "1 alarm": "1 个警报",
    "isograd took {x} of the time": "isograd 占用时间的 {x}",
    "watched {n} steps": "观察了 {n} 步",
    "the program was {ending}": "程序{ending}",
    "watching stopped: {why}": "观察已停止：{why}",
    "page: isograd report {run}": "页面：isograd report {run}",
}


def status(now: RunStatus, lang: str = "en") -> str:
    """One line: step, loss, slowest and fastest layer, alarms, own cost."""
    tell = speaker(lang, ZH)
    parts = [tell("step {n}", n=now.steps)]
    if now.loss is not None:
        parts.append(tell("loss {x}", x=f"{now.loss:.4g}"))
    known = {name: speed for name, speed in now.speeds.items() if speed > 0}
    if len(known) > 1:
        slow, fast = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
        parts.append(tell("slowest {name} {x}", name=slow, x=f"{known[slow]:.2g}"))
        parts.append(tell("fastest {name} {y}", name=fast, y=f"{known[fast]:.2g}"))
    if now.alarms:
        parts.append(_alarms(now.alarms, lang))
    parts.append(f"isograd {100 * now.cost:.1f} %")
    return " · ".join(parts)


def ending_lines(now: RunStatus, lang: str = "en") -> list[Text]:
    """What to say when the program has ended."""
    tell = speaker(lang, ZH)
    out: list[Text] = []
    if now.verdict:
        style = "green" if now.ok else "bold red"
        out.append(Text.assemble(("isograd: ", "bold"), (now.verdict, style)))
    out += bad_step_view.ending_lines(now, lang)
    facts = [tell("watched {n} steps", n=now.steps)]
    if now.alarms:
        facts.append(_alarms(now.alarms, lang))
    facts.append(tell("isograd took {x} of the time", x=f"{100 * now.cost:.1f} %"))
    if now.ending:
        facts.append(tell("the program was {ending}", ending=now.ending))
    out.append(Text("; ".join(facts)))
    if now.failed:
        out.append(Text(tell("watching stopped: {why}", why=now.failed), style="yellow"))
    if now.run is not None:
        out.append(Text(tell("page: isograd report {run}", run=_short(now.run))))
    return out


def _alarms(count: int, lang: str) -> str:
    tell = speaker(lang, ZH)
    return tell("1 alarm") if count == 1 else tell("{n} alarms", n=count)


def _short(path: str) -> str:
    try:
        return os.path.relpath(path) if Path(path).is_absolute() else path
    except ValueError:  # another drive
        return path
