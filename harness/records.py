"""Records: the JSON that one command writes and another reads.

A record is a frozen dataclass. Producer and consumer use the same class, so a field that is read is a field that is written:

    @dataclass(frozen=True)
    class Result:
        remedy: ClassVar[str] = "run `python -m toy gmm` again"
        version: int = 1
        ...

`write` and `read` are the only ways to and from a file, `to_json` and `from_json` those to and from text that lies elsewhere
(the header of a safetensors file). A field may be a str, int, float, bool, a record, `list`, `tuple[X, ...]`, `dict[str, X]`
or a union of these with None; `Any` is for what is passed on unread. A record with a field `version` is read only if the
file holds the version that the class declares.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from ambient.runs import UserError, write_atomically

Record = TypeVar("Record")
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a mapping"}


class _Misfit(Exception):  # noqa: N818 - becomes a UserError once the file's name is known
    """What is wrong with which field."""


def write(file: Path, record: Any) -> None:
    """Write a record to a JSON file, whole or not at all."""
    write_atomically(file, to_json(record, indent=1).encode())


def read(file: Path, kind: type[Record]) -> Record:
    """Read a JSON file as a record of this kind.

    Raises: UserError, which names the file and the field, if the file cannot be read, is no JSON, or does not fit the class.
    """
    try:
        text = file.read_text()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; {_remedy(kind)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no JSON; {_remedy(kind)}") from error
    return from_json(text, kind, where=str(file))


def to_json(record: Any, *, indent: int | None = None) -> str:
    """The JSON of a record, fields in the order of its class."""
    return json.dumps(dataclasses.asdict(record), indent=indent)


def from_json(text: str, kind: type[Record], *, where: str) -> Record:
    """The record in a JSON text. `where` names the text in messages. Raises: as `read`."""
    try:
        return _fit(json.loads(text), kind, "")
    except _Misfit as error:
        raise UserError(f"{where}: {error}; {_remedy(kind)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON ({str(error).splitlines()[0]}); {_remedy(kind)}") from error


def _remedy(kind: type) -> str:
    return getattr(kind, "remedy", "run the command that wrote it again")


def _fit(value: Any, kind: Any, name: str) -> Any:
    """`value` as an instance of `kind`; `name` is the path of the field, as images[3].file. Raises: _Misfit."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _fit_union(value, inner, name)
    if dataclasses.is_dataclass(kind):
        return _fit_record(_expect(value, dict, name), kind, name)
    if origin in (list, tuple):
        found = [_fit(entry, inner[0], f"{name}[{i}]") for i, entry in enumerate(_expect(value, list, name))]
        return tuple(found) if origin is tuple else found
    if origin is dict:
        return {key: _fit(entry, inner[1], f"{name}[{key!r}]") for key, entry in _expect(value, dict, name).items()}
    if kind is float and type(value) is int:
        return float(value)
    return _expect(value, kind, name)


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
    types_of, prefix = typing.get_type_hints(kind), f"{name}." if name else ""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if "version" in fields and value.get("version") != fields["version"].default:
        found = value.get("version", "none")
        raise _Misfit(f"{prefix}version is {found!r}, and this program reads version {fields['version'].default}")
    for unknown in sorted(value.keys() - fields.keys()):
        raise _Misfit(f"{prefix}{unknown} is no field of it")
    for field in fields.values():
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.name not in value and no_default:
            raise _Misfit(f"{prefix}{field.name} is missing")
    return kind(**{key: _fit(entry, types_of[key], prefix + key) for key, entry in value.items()})


def _expect(value: Any, kind: type, name: str) -> Any:
    """`value`, if it is of this type: bool is no int. Raises: _Misfit."""
    if type(value) is not kind:
        shown = "nothing" if value is None else json.dumps(value)[:60]
        raise _Misfit(f"{name or 'the whole'} must be {_WORDS[kind]}; found {shown}")
    return value
