"""Records: the JSON that one command writes and another reads.

A record is a frozen dataclass. Producer and consumer use the same class, so a field that is read is a field that is written:

    @dataclass(frozen=True)
    class Result:
        remedy: ClassVar[str] = "run `python -m toy gmm` again"
        version: int = 1
        ...

`write` and `read` are for files, `to_json` and `from_json` for text elsewhere, such as the header of a safetensors file, and
`fit` is for values that are already parsed. The type of a field may be str, int, float, bool, a record, `tuple[X, ...]`, a tuple
of fixed length, `dict[str, X]`, a union of these with None, or `Any` for a value that is not checked.

A record with a field `version` (older files: `format`) is read only if the file has the version that the class declares; a file
without one has version 1. A field whose default is None is left out of the file while it is None. If the key in the file is not a
Python name, the field has `metadata={"key": ...}`. A field `rest` takes all keys of no other field; without it such keys are
refused. A `__post_init__` may raise a ValueError that says what is wrong with the whole record.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import UserError
from harness.files import write_atomically

Record = TypeVar("Record")
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a mapping"}
_UNIONS = (typing.Union, types.UnionType)
_VERSION = {"version", "format"}
_REST = "rest"  # the field that takes all keys of no other field


class _Misfit(Exception):  # noqa: N818 - becomes a UserError once the file's name is known
    """A value that does not fit its field; the message names the field and says what is wrong."""


def write(file: Path, record: Any) -> None:
    """Write a record to a JSON file, atomically."""
    write_atomically(file, to_json(record, indent=1).encode())


def read(file: Path, kind: type[Record]) -> Record:
    """Read a JSON file as a record of this kind.

    Raises: UserError, which names the file and the field, if the file cannot be read, is no JSON, or does not fit the class.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; {_remedy(kind)}") from error
    return from_json(text, kind, where=str(file))


def to_json(record: Any, *, indent: int | None = None) -> str:
    """The JSON of a record, fields in the order of its class."""
    return json.dumps(plain(record), indent=indent)


def from_json(text: str | bytes, kind: type[Record], *, where: str) -> Record:
    """The record in a JSON text; `where` names the text in messages. Raises: UserError, as `read`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON ({str(error).splitlines()[0]}); {_remedy(kind)}") from error
    return fit(value, kind, where=where)


def fit(value: Any, kind: type[Record], *, where: str) -> Record:
    """The record in a value of dicts, lists and scalars; `where` names the value in messages. Raises: UserError, as `read`."""
    chosen = _most_like(value, kind)
    try:
        return _fit(value, chosen, "")
    except _Misfit as error:
        raise UserError(f"{where}: {error}; {_remedy(chosen)}") from error


def plain(value: Any) -> Any:
    """A record, or a container of records, as dicts, lists and scalars."""
    if dataclasses.is_dataclass(value):
        entries: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            entry = getattr(value, field.name)
            if field.name == _REST:
                entries |= plain(entry)
            elif entry is not None or field.default is not None:
                entries[_key(field)] = plain(entry)
        return entries
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _remedy(kind: Any) -> str:
    of = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    return getattr(of, "remedy", "run the command that wrote it again")


def _key(field: dataclasses.Field[Any]) -> str:
    return field.metadata.get("key", field.name)


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """The fields of a record and their types by key, without the field `rest`."""
    types_of = typing.get_type_hints(kind)
    return {_key(field): (field, types_of[field.name]) for field in dataclasses.fields(kind) if field.name != _REST}


def _fit(value: Any, kind: Any, name: str) -> Any:
    """`value` as an instance of `kind`; `name` is the path of the field, such as images[3].file. Raises: _Misfit."""
    kind = _most_like(value, kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in _UNIONS:
        return _fit_union(value, inner, name)
    if dataclasses.is_dataclass(kind):
        return _fit_record(_expect(value, dict, name), kind, name)
    if origin in (list, tuple):
        entries = _expect(value, list, name)
        each = inner if origin is tuple and inner[-1] is not Ellipsis else inner[:1] * len(entries)
        if len(entries) != len(each):
            raise _Misfit(f"{name or 'the whole'} must have {len(each)} entries; found {len(entries)}")
        fitted = [_fit(entry, one, f"{name}[{i}]") for i, (entry, one) in enumerate(zip(entries, each, strict=True))]
        return tuple(fitted) if origin is tuple else fitted
    if origin is dict:
        return {key: _fit(entry, inner[1], f"{name}[{key!r}]") for key, entry in _expect(value, dict, name).items()}
    if kind is float and type(value) is int and abs(value) < 1 << 1023:
        return float(value)
    return _expect(value, kind, name)


def _most_like(value: Any, kind: Any) -> Any:
    """The record of a union whose fields are most similar to the keys of `value`; `kind` itself if it is no such union."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in _UNIONS and isinstance(value, dict) else ()
    candidates = [one for one in kinds if dataclasses.is_dataclass(one)]
    return min(candidates, key=lambda one: len(_fields(one).keys() ^ value.keys())) if candidates else kind


def _fit_union(value: Any, kinds: tuple[Any, ...], name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    misfit = None
    for kind in (kind for kind in kinds if kind is not type(None)):
        try:
            return _fit(value, kind, name)
        except _Misfit as error:
            misfit = error
    raise misfit or _Misfit(f"{name} cannot be read")


def _fit_record(value: dict[str, Any], kind: Any, name: str) -> Any:
    fields, prefix = _fields(kind), f"{name}." if name else ""
    for key in fields.keys() & _VERSION:
        found, wanted = value.get(key, 1), fields[key][0].default
        if found != wanted:
            raise _Misfit(f"{prefix}{key} is {found!r}, and this program reads {key} {wanted}")
    rest = {key: entry for key, entry in value.items() if key not in fields}
    takes_rest = any(field.name == _REST for field in dataclasses.fields(kind))
    if rest and not takes_rest:
        raise _Misfit(f"{prefix}{next(iter(rest))!r} is no field of it")
    given: dict[str, Any] = {_REST: rest} if takes_rest else {}
    for key, (field, type_of) in fields.items():
        if key in value:
            given[field.name] = _fit(value[key], type_of, prefix + key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _Misfit(f"{prefix}{key} is missing")
    try:
        return kind(**given)
    except ValueError as error:
        raise _Misfit(f"{name}: {error}" if name else str(error)) from error


def _expect(value: Any, kind: type, name: str) -> Any:
    """`value` itself. Raises: _Misfit unless its type is exactly `kind`; a bool is not an int here."""
    if type(value) is not kind:
        shown = "nothing" if value is None else repr(value)[:60]
        raise _Misfit(f"{name or 'the whole'} must be {_WORDS.get(kind, kind.__name__)}; found {shown}")
    return value
