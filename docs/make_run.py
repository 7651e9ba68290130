"""Write what the commands on `docs/run.md` print, from real runs.

    python docs/make_run.py

Trains `examples/train_digits.py` a few times below `isograd run` in a directory of its own, and
writes what each command printed to `docs/run-NAME.txt`. With `--pictures` also the page of one run
to `docs/assets/run.png`, if a system Chromium is found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
EXAMPLE = DOCS.parent / "examples" / "train_digits.py"
COLUMNS = "88"
SIGMOID = "--epochs 20 --activation sigmoid --lr 0.1"
# What each file shows: the command line behind `isograd`, and lines of its output.
SHOWN = {
    "verdict": (f"run --name sigmoid train_digits.py {SIGMOID}", slice(17, None)),
    "chinese": (f"run --name zh --lang zh train_digits.py {SIGMOID}", slice(20, None)),
    "all": (f"run --quiet --budget none --name all train_digits.py {SIGMOID}", slice(0)),
    "healthy": ("run --name relu train_digits.py --epochs 20", slice(17, None)),
    "again": ("run --name relu-lr train_digits.py --epochs 20 --lr 1.1e-3", slice(20, None)),
    "runs": ("runs --columns 88", slice(None)),
    "compare": ("compare relu relu-lr --columns 88", slice(0, 24)),
    "report": ("report sigmoid", slice(None)),
    "page": ("report all", slice(None)),
    "export": ("export relu --to csv", slice(None)),
    "gc": ("gc --keep 3 --yes", slice(-1, None)),
}
UNUSED = ("again", "all", "page")


def shown(arguments: str, folder: Path, lines: slice) -> str:
    """The command and the lines that it prints, both streams as a terminal shows them."""
    environment = {**os.environ, "COLUMNS": COLUMNS, "ISOGRAD_LANG": "en", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-u", "-m", "isograd", *arguments.split()],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    )
    printed = done.stdout.splitlines()[lines]
    return "\n".join([f"$ isograd {arguments}", *(line.rstrip() for line in printed)]) + "\n"


def picture(folder: Path) -> None:
    """The part of a run's page that shows its layers."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium on PATH: run.png left as it is")
        return
    from playwright.sync_api import sync_playwright

    target = DOCS / "assets" / "run.png"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1200, "height": 1000})
        page.goto((folder / "all.html").as_uri())
        page.locator("#layers").screenshot(path=target)
        chromium.close()
    print(target)


def main() -> None:
    """Write all files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(EXAMPLE, folder)
        for name, (arguments, lines) in SHOWN.items():
            text = shown(arguments, folder, lines)
            if name not in UNUSED:
                (DOCS / f"run-{name}.txt").write_text(text, encoding="utf-8")
                print(text)
        if "--pictures" in sys.argv[1:]:
            picture(folder)


if __name__ == "__main__":
    main()
