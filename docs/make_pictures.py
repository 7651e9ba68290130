"""Draw the pictures of README and docs from real runs.

python docs/make_pictures.py

docs/assets/report.svg   the terminal report on the demo's net
docs/assets/demo.svg     what `isograd demo` prints
docs/assets/page.png     the HTML page, if a system Chromium is found
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

import isograd
from isograd import demo
from isograd.demo import classic, digits
from isograd.demo.story import tell
from isograd.records import Diagnosis
from isograd.reporters import terminal

ASSETS = Path(__file__).parent / "assets"
WIDTH = 100
# rich's template links a web font; the pictures load nothing.
SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def recorder() -> Console:
    """A console that writes nowhere and remembers everything."""
    return Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )


def save(console: Console, name: str, title: str) -> None:
    """Write what a console recorded as SVG."""
    svg = console.export_svg(title=title, theme=MONOKAI, code_format=SVG, unique_id=name)
    path = ASSETS / f"{name}.svg"
    path.write_text(svg, encoding="utf-8")
    print(path)


def report() -> None:
    """The terminal report."""
    data = digits.load()
    diagnosis = isograd.check(
        classic.build(demo.SEED), lambda model: classic.loss(model, data.images, data.targets)
    )
    console = recorder()
    console.print(terminal.render(diagnosis, width=WIDTH))
    save(console, "report", "isograd.check(model, step)")


def story() -> Diagnosis:
    """The demo."""
    console = recorder()
    diagnosis = demo.run(html=None, quiet=True)
    tell(console, diagnosis, demo.SEED, None)
    save(console, "demo", "isograd demo")
    return diagnosis


def page(diagnosis: Diagnosis) -> None:
    """The HTML page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium on PATH: page.png left as it is")
        return
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "page.html"
        diagnosis.save_html(html)
        picture = ASSETS / "page.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size, shot = "--window-size=1200,1500", f"--screenshot={picture}"
        subprocess.run(
            [browser, *flags, size, shot, html.as_uri()],
            check=True,
            capture_output=True,
            timeout=90,
        )
    print(picture)


if __name__ == "__main__":
    torch.set_num_threads(1)
    ASSETS.mkdir(exist_ok=True)
    report()
    page(story())
