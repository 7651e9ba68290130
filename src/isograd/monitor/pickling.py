"""Pickles for a bad step: what `__main__` defines is found again in the saved script.

Used as the `pickle_module` of `torch.save` and `torch.load`, which want these names.
"""

from __future__ import annotations

import builtins
import io
import marshal
import pickle
import sys
import types
from pickle import UnpicklingError as UnpicklingError
from pickle import dump as dump
from pickle import load as load
from typing import Any

from isograd.monitor.definitions import Definitions, MissingNameError

_definitions: list[Definitions | None] = [None]


def use(definitions: Definitions | None) -> None:
    """Where classes of `__main__` come from until told otherwise."""
    _definitions[0] = definitions


class Pickler(pickle.Pickler):
    """Writes classes of `__main__`, torch's functions and lambdas so that they are found."""

    def reducer_override(self, obj: Any) -> Any:
        """How to find an object again; NotImplemented leaves it to pickle."""
        if isinstance(obj, type) and "<locals>" in obj.__qualname__:
            raise pickle.PicklingError(f"class `{obj.__name__}` is defined inside of a function")
        if isinstance(obj, type) and obj.__module__ == "__main__":
            return find, (obj.__qualname__,)
        if isinstance(obj, types.FunctionType):
            return _function(obj)
        if isinstance(obj, types.MethodWrapperType) and obj.__name__ in ("__get__", "__set__"):
            return getattr, (obj.__self__, obj.__name__)
        if isinstance(obj, types.BuiltinFunctionType) and isinstance(obj.__self__, type):
            return getattr, (obj.__self__, obj.__name__)
        return NotImplemented


class Unpickler(pickle.Unpickler):
    """Finds classes of `__main__` in the saved script."""

    def find_class(self, module: str, name: str) -> Any:
        """The object with a name."""
        if module == "__main__":
            return find(name)
        return super().find_class(module, name)


def find(name: str) -> Any:
    """Something that `__main__` defined.

    Raises:
        MissingNameError: If it is not there.
    """
    definitions = _definitions[0]
    if definitions is None:
        raise MissingNameError(f"`{name}`: the script that defines it was not saved")
    return definitions.get(name)


def rebuilt(code: bytes, module: str, name: str, defaults: Any, cells: tuple[Any, ...]) -> Any:
    """A function that has no name to be found by, such as a lambda."""
    body: types.CodeType = marshal.loads(code)
    home = sys.modules.get(module)
    known = _globals(body) if home is None else vars(home)
    closure = tuple(types.CellType(cell) for cell in cells)
    return types.FunctionType(body, known, name, defaults, closure)


def _globals(code: types.CodeType) -> dict[str, Any]:
    """What the script defines of the names that a function uses."""
    known: dict[str, Any] = {"__builtins__": builtins}
    for name in code.co_names:
        try:
            known[name] = find(name)
        except MissingNameError:  # an attribute's name, or one of Python's own
            continue
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            known |= _globals(inner)
    return known


def _function(obj: types.FunctionType) -> Any:
    home = sys.modules.get(obj.__module__ or "")
    plain = "<" not in obj.__qualname__
    if plain and obj.__module__ == "__main__":
        return find, (obj.__qualname__,)
    if plain and home is not None:
        return NotImplemented
    cells = tuple(cell.cell_contents for cell in obj.__closure__ or ())
    module = "" if obj.__module__ == "__main__" else obj.__module__
    code = marshal.dumps(obj.__code__)
    return rebuilt, (code, module, obj.__name__, obj.__defaults__, cells)


def dumps(obj: Any) -> bytes:
    """Bytes of an object, tensors included."""
    import torch

    buffer = io.BytesIO()
    torch.save(obj, buffer, pickle_module=sys.modules[__name__])
    return buffer.getvalue()


def loads(data: bytes, device: str | None) -> Any:
    """Inverse of `dumps`; runs code that the bytes name, so only for files of one's own."""
    import torch

    return torch.load(
        io.BytesIO(data),
        map_location=device,
        pickle_module=sys.modules[__name__],
        weights_only=False,
    )
