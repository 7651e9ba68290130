"""Small faulty programs, and the fix that each names in its first line."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

from isograd import api
from isograd.cli import served, targets
from isograd.fixes.kind import Case, kinds
from isograd.fixes.patches import sites
from isograd.fixes.patches.make import Patch, patch
from isograd.fixes.setup import Setup
from isograd.records import Diagnosis, Finding
from isograd.records.fix import Fix

SCRIPTS = Path(__file__).parent / "fixes" / "scripts"
NAMES = sorted(p.name.removesuffix(".py.txt") for p in SCRIPTS.iterdir() if p.suffix != ".diff")
_STEPS = 4


def written(name: str, folder: Path, newline: str = "\n") -> Path:
    """Copy a script, or the several files of one, to a folder; the file with the target."""
    place = SCRIPTS / name
    files = [SCRIPTS / f"{name}.py.txt"]
    if place.is_dir():
        files = sorted(place.rglob("*.py.txt"))
    for file in files:
        below = file.relative_to(place) if place.is_dir() else Path(file.name)
        copy = folder / str(below).removesuffix(".txt")
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_text(encoding="utf-8").replace("\n", newline).encode())
    return folder / ("train.py" if place.is_dir() else f"{name}.py")


class Loaded:
    """A script that is loaded, with the fix that it names.

    Attributes:
        setup: The training as it stands.
        fix: The fix.
        patch: The change of the source.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.spec = file, f"{file}:target"
        self._stack = contextlib.ExitStack()
        with sites.recorded() as recorder:
            made = self._stack.enter_context(targets.loaded(self.spec))
        self.setup = Setup(made.model, made.step, made.optimizer, made.train_step)
        self.sites = recorder.of(made.model, made.optimizer)
        steps = _STEPS if made.optimizer is not None else 0
        diagnosis = api.check(
            made.model, made.step, made.optimizer, steps, train_step=made.train_step
        )
        head = file.read_text(encoding="utf-8").splitlines()[0].split()[2:]
        self.fix, self.finding = chosen(self.setup, diagnosis, head)
        self.patch: Patch = patch(self.fix, self.finding, file, "target", self.sites)

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def chosen(setup: Setup, diagnosis: Diagnosis, words: list[str]) -> tuple[Fix, Finding]:
    """The first proposal of a kind whose parameters are as given, `key=value`."""
    kind = kinds()[words[0]]
    wanted = dict(word.split("=") for word in words[1:])
    findings = [*diagnosis.findings, *(finding(code) for code in sorted(kind.cures))]
    for one in findings:
        for proposal in kind.proposals(Case(setup, diagnosis, one)):
            if all(str(proposal.parameters.get(k)) == v for k, v in wanted.items()):
                return kind.fix(proposal), one
    raise AssertionError(f"{kind.name} proposes nothing for {[f.code for f in findings]}")


def finding(code: str) -> Finding:
    """A finding by its code, or by its cause, with nothing else known."""
    is_code = code[0] == "G" and code[1:].isdigit()
    return Finding(
        code=code if is_code else "G101",
        title="a fault",
        severity="warning",
        cause="none" if is_code else code,
    )


@contextlib.contextmanager
def patched(loaded: Loaded) -> Any:
    """The training that the patched source builds."""
    with served.files(loaded.patch.texts, loaded.spec) as text:
        with targets.loaded(loaded.spec, text=text) as made:
            yield Setup(made.model, made.step, made.optimizer, made.train_step)


def git(folder: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run git in a folder."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false")
    return subprocess.run(
        ("git", *who, *arguments),
        cwd=folder,
        input=text and text.encode(),
        capture_output=True,
        check=False,
    )


def golden(name: str) -> Path:
    """The diff that is expected of a script."""
    return SCRIPTS / f"{name}.diff"


def main() -> None:
    """Write all expected diffs anew: `python tests/fix_samples.py`, then read them."""
    import os
    import sys
    import tempfile

    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            known = set(sys.modules)
            with Loaded(written(name, Path(folder))) as loaded:
                golden(name).write_text(loaded.patch.diff, encoding="utf-8")
            for module in set(sys.modules) - known:
                if str(getattr(sys.modules[module], "__file__", "")).startswith(
                    os.path.realpath(folder)
                ):
                    del sys.modules[module]


if __name__ == "__main__":
    main()
