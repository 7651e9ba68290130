"""Records to plain JSON data and back.

JSON has no NaN and no infinity, so these travel as the strings "nan", "inf" and "-inf".
Unknown keys are ignored and missing ones take the field's default, so that a reader of the
same schema version opens files of older and newer minor releases.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

SCHEMA = 1
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
T = TypeVar("T")


def encode(record: Any) -> dict[str, Any]:
    """Encode a record with its schema version.

    >>> from isograd.records.op import Term
    >>> encode(Term(3, float("inf")))
    {'schema': 1, 'op': 3, 'norm': 'inf'}
    """
    return {"schema": SCHEMA, **_plain(record)}


def decode(cls: type[T], data: dict[str, Any]) -> T:
    """Decode what `encode` made.

    Raises:
        ValueError: If the schema version is another one, or a value does not fit its field.
    """
    version = data.get("schema")
    if version != SCHEMA:
        raise ValueError(f"data has schema version {version!r}; this version reads {SCHEMA}.")
    return _build(cls, data)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in typing.cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in typing.cast("dict[str, Any]", value).items()}
    return value


def _build(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _build(next(arg for arg in args if arg is not type(None)), value)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        known = {f.name for f in dataclasses.fields(hint)}
        return typing.cast(Any, hint)(
            **{key: _build(hints[key], item) for key, item in value.items() if key in known}
        )
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_build(args[0], item) for item in value)
        return tuple(_build(arg, item) for arg, item in zip(args, value, strict=True))
    if origin is dict:
        return {key: _build(args[1], item) for key, item in value.items()}
    if hint is float:
        if isinstance(value, str):
            if value not in _NONFINITE:
                raise ValueError(f"expected a number, got {value!r}.")
            return _NONFINITE[value]
        return float(value)
    return value
