"""From `FILE.py:target` to a model and a step."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from isograd.cli.returned import Target, a_kind, is_module, understood
from isograd.errors import TargetError

DEFAULT = "target"
_FRAMES = 3
_NAMES = 8
_SHAPE = "def target(): return model, step"


@contextlib.contextmanager
def loaded(spec: str, text: str | None = None) -> Iterator[Target]:
    """Load a target, with the imports of its file in reach as long as it is used.

    Args:
        spec: `FILE.py:name` or `package.module:name`; without `:name` it is `target`.
        text: What to run in place of the file's text.

    Yields:
        The target.

    Raises:
        TargetError: If there is none, or it is no target. Nothing was measured.
    """
    place, name = split(spec)
    file = _file(place)
    folder = str((file.parent if file else Path()).resolve())
    arguments = sys.argv
    sys.path.insert(0, folder)
    sys.argv = [str(file or place)]
    try:
        module = _from_file(file, text) if file else _from_name(place)
        yield _call(getattr(module, name, None), name, module, str(file or place))
    finally:
        sys.argv = arguments
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def split(spec: str) -> tuple[str, str]:
    r"""The file or module, and the name in it.

    A colon only separates if a name follows and more than a drive letter stands before it.

    >>> split("model.py:build"), split("model.py"), split(r"C:\nets\model.py")
    (('model.py', 'build'), ('model.py', 'target'), ('C:\\nets\\model.py', 'target'))
    """
    place, colon, name = spec.rpartition(":")
    if colon and name.isidentifier() and len(place) > 1:
        return place, name
    if colon and not name and place:
        return place, DEFAULT
    return spec, DEFAULT


def _file(place: str) -> Path | None:
    """The file, or None for the name of a module."""
    path = Path(place).expanduser()
    if path.suffix == ".ipynb":
        raise TargetError(
            f"`{place}` is a notebook; a target is a Python file.",
            causes=(
                "call it in the notebook: `import isograd; isograd.check(model, step)`.",
                f"convert it: `jupyter nbconvert --to script {path.name}`.",
            ),
        )
    if path.is_dir():
        raise TargetError(f"`{place}` is a directory; a target is a file: FILE.py:target.")
    if path.is_file():
        return path
    dotted = all(part.isidentifier() for part in place.split("."))
    if dotted and path.suffix != ".py":
        return None
    raise _missing_file(path, place)


def _missing_file(path: Path, place: str) -> TargetError:
    folder = path.parent
    if not folder.is_dir():
        return TargetError(f"no file `{place}`: there is no directory `{folder}`.")
    names = sorted(entry.name for entry in folder.glob("*.py"))
    stems = difflib.get_close_matches(path.stem, [Path(n).stem for n in names], n=3)
    near = [f"{stem}.py" for stem in stems]
    listed = near or names[:_NAMES]
    return TargetError(
        f"no file `{place}`.",
        facts=(
            f"looked in   {folder.resolve()}",
            f"{'near names' if near else 'Python files there'}   {', '.join(listed) or 'none'}",
        ),
        causes=(
            f"its name is misspelt: `isograd check {folder / near[0]}`."
            if near
            else "it lies elsewhere: give its path.",
        ),
    )


def _from_file(path: Path, text: str | None = None) -> ModuleType:
    # A name of its own, as a file `random.py` must not become the module `random`.
    name = "isograd_target_" + re.sub(r"\W", "_", path.stem)
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    try:
        content = path.read_bytes() if text is None else text
        code = compile(content, module.__file__, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise _not_python(path, error) from error
    except OSError as error:
        raise TargetError(f"cannot read `{path}`: {error.strerror}.") from error
    sys.modules[name] = module  # dataclasses and pickle look the module up
    with _explained(f"importing `{path}`", path):
        try:
            exec(code, module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _from_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            with _explained(f"importing `{name}`", None):
                raise
        near = [path.name for path in sorted(Path().glob("*.py"))][:_NAMES]
        raise TargetError(
            f"no module `{name}`.",
            facts=(f"looked in   {Path().resolve()} and the installed packages",),
            causes=(
                f"you mean a file: `isograd check {near[0] if near else name + '.py'}`.",
                f"it is not installed in the environment of {sys.executable}.",
            ),
        ) from error
    except (Exception, SystemExit):
        with _explained(f"importing `{name}`", None):
            raise
    raise AssertionError


def _not_python(path: Path, error: SyntaxError | ValueError) -> TargetError:
    if isinstance(error, SyntaxError) and error.lineno:
        facts = [f"{path}:{error.lineno}   {error.msg}"]
        if error.text and error.text.strip():
            facts.append(f"    {error.text.strip()}")
    else:
        facts = [str(error)]
    causes = ("give a Python file: FILE.py:target.",)
    if path.suffix == ".py":
        causes = (f"the line has a mistake: correct it, then try `python {path}`.",)
    return TargetError(f"`{path}` is not Python.", facts=tuple(facts), causes=causes)


@contextlib.contextmanager
def _explained(doing: str, path: Path | None) -> Iterator[None]:
    """Turn an exception of the user's code into a TargetError with the frames that matter."""
    try:
        yield
    except TargetError:
        raise
    except (Exception, SystemExit) as error:
        detail = f": {error}" if str(error) else ""
        raise TargetError(
            f"{doing} raised {type(error).__name__}{detail}".splitlines()[0].rstrip(".") + ".",
            facts=_frames(error),
            causes=_why(error, path),
        ) from error


def _frames(error: BaseException) -> tuple[str, ...]:
    """The last frames of the user's own files, and the one that raised."""
    own = (__file__, importlib.__file__, contextlib.__file__)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in own and not frame.filename.startswith("<frozen")
    ]
    users = [frame for frame in frames if not _is_library(frame.filename)]
    shown = users[-_FRAMES:]
    if frames and frames[-1] not in shown:
        shown.append(frames[-1])
    lines: list[str] = []
    for frame in shown:
        lines.append(f"{_short(frame.filename)}:{frame.lineno} in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line}")
    return tuple(lines)


def _is_library(file: str) -> bool:
    return file.startswith(sysconfig.get_path("stdlib")) or "site-packages" in Path(file).parts


def _short(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path().resolve()))
    except ValueError:
        return file


def _why(error: BaseException, path: Path | None) -> tuple[str, ...]:
    if isinstance(error, ModuleNotFoundError):
        return (
            f"`{error.name}` is not installed in the environment of {sys.executable}: install it "
            "there, or run `python -m isograd` with the Python that has it.",
        )
    if isinstance(error, FileNotFoundError):
        return (
            f"it opens a path relative to another directory than {Path().resolve()}: run isograd "
            "from there.",
        )
    if isinstance(error, SystemExit):
        return ('it calls `sys.exit()`: put that under `if __name__ == "__main__":`.',)
    whole = f"python {path}" if path else "python -c 'import ...'"
    return (f"the code has a mistake: `{whole}` shows the whole traceback.",)


def _call(function: Any, name: str, module: ModuleType, place: str) -> Target:
    if not hasattr(module, name):
        raise _no_name(name, module, place)
    if not callable(function) or is_module(function):
        raise TargetError(
            f"`{name}` in `{place}` is {a_kind(function)}, not a function.",
            causes=(f"make it one that returns both: `{_SHAPE}`.",),
        )
    needed = _needed(function)
    if needed:
        raise TargetError(
            f"`{name}` in `{place}` needs arguments: {', '.join(needed)}.",
            facts=("a target is called without any",),
            causes=(
                "give them defaults.",
                f"write a function that fills them in: `def target(): return {name}(...)`.",
            ),
        )
    with _explained(f"`{name}()` in `{place}`", Path(place) if place.endswith(".py") else None):
        made = function()
    return understood(made, f"`{name}()` in `{place}`")


def _no_name(name: str, module: ModuleType, place: str) -> TargetError:
    mine = [
        key
        for key, value in vars(module).items()
        if callable(value)
        and getattr(value, "__module__", None) == module.__name__
        and not key.startswith("_")
    ]
    near = difflib.get_close_matches(name, mine, n=3, cutoff=0.5)
    facts = [f"near names   {', '.join(near)}"] if near else []
    facts.append(f"functions and classes there   {', '.join(mine[:_NAMES]) or 'none'}")
    causes = []
    if near:
        causes.append(f"the name is misspelt: `isograd check {place}:{near[0]}`.")
    elif mine and name == DEFAULT:
        causes.append(f"the function has another name: `isograd check {place}:{mine[0]}`.")
    causes.append(f"there is none yet: add `def {name}(): return model, step`.")
    return TargetError(f"`{place}` has no `{name}`.", facts=tuple(facts), causes=tuple(causes))


def _needed(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
