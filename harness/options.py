"""The options of a command as fields of a frozen dataclass: what a value may be is declared with the option, and checked once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import os
import typing
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")
LONGEST = 60  # characters of a value that a message repeats
LARGEST = 2**63  # of whole numbers, which torch keeps in 64 bits


class Range(NamedTuple):
    """The numbers that an option allows; `also` names numbers outside of the limits that mean something of their own."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    also: tuple[float, ...] = ()

    def __contains__(self, number: Any) -> bool:
        limits = (self.at_least, operator.ge), (self.above, operator.gt), (self.at_most, operator.le), (self.below, operator.lt)
        return number in self.also or all(limit is None or holds(number, limit) for limit, holds in limits)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            said = f"between {self.at_least:,} and {self.at_most:,}"
        else:
            words = ("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below)
            said = " and ".join(f"{word} {limit:,}" for word, limit in words if limit is not None)
        return f"{' or '.join(map(str, self.also))}, or {said}" if self.also else said


class Declared(NamedTuple):
    """What `option` says about a field."""

    help: str
    group: str
    metavar: str | None
    choices: tuple[str, ...]
    range: Range
    usual: str
    path: bool | str
    rising: bool
    repeats: bool
    required: bool
    positional: bool
    large: bool


def option(
    default: Any,
    help: str,
    *,
    group: str = "options",
    metavar: str | None = None,
    choices: Iterable[str] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    also: tuple[float, ...] = (),
    usual: str = "",
    path: bool | str = False,
    rising: bool = False,
    repeats: bool = False,
    required: bool = False,
    positional: bool = False,
    large: bool = False,
) -> Any:
    """A field of a dataclass of options, with what the command line says of it and what is allowed.

    Args: help: a complete phrase, with the unit. at_least, above, at_most, below, also: the `Range` of a number. usual: what is
    taken where the default is None. path: True for a path, or a path or another name; "boxes:" and the like are the separator
    after which a path stands. rising: the numbers of a list must rise. repeats: a list may name a value
    twice. required: has no default. positional: is given by its place, without its name. large: a whole number of more than 64
    bits is allowed.
    """
    allowed = Range(at_least, above, at_most, below, also)
    declared = Declared(help, group, metavar, tuple(choices), allowed, usual, path, rising, repeats, required, positional, large)
    return dataclasses.field(default=default, metadata={"option": declared})


@dataclasses.dataclass(frozen=True)
class Options:
    """Options whose values are checked when they are made. A subclass adds rules between options in its `__post_init__`.

    Raises: ValueError, on creation, in one line that names the option, what was found and what is allowed.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value != field.default:
                try:
                    _check(declarations(type(self))[field.name], field.default, value)
                except ValueError as error:
                    raise ValueError(f"{self.spelled(field.name)} {error}") from error

    @classmethod
    def spelled(cls, name: str) -> str:
        """How the user writes an option."""
        declared = declarations(cls)[name]
        return str(declared.metavar) if declared.positional else f"--{name.replace('_', '-')}"


def _check(declared: Declared, default: Any, value: Any) -> None:
    """Raises: ValueError whose message goes on from the name of the option."""
    entries = value if isinstance(value, (tuple, list)) else (value,)
    if not entries and default:
        raise ValueError("must not be empty")
    for entry in entries:
        if isinstance(entry, str):
            if declared.choices and entry not in declared.choices:
                raise ValueError(f"does not know {shown(entry)}{nearest(entry, declared.choices)}")
        elif isinstance(entry, float) and not math.isfinite(entry):
            raise ValueError(f"must be finite{f', {declared.range}' if str(declared.range) else ''}; got {entry}")
        elif not isinstance(entry, bool) and entry not in declared.range:
            raise ValueError(f"must be {declared.range}; got {shown(entry)}")
        elif isinstance(entry, int) and abs(entry) >= LARGEST and not declared.large:
            raise ValueError(f"must be a whole number of at most 63 bits; got {shown(entry)}")
    same = [os.path.realpath(entry) for entry in entries] if declared.path is True else list(entries)
    twice = next((entry for i, entry in enumerate(entries) if same[i] in same[:i]), None)
    if twice is not None and not declared.repeats:
        raise ValueError(f"names {shown(twice)} twice")
    if declared.rising and list(entries) != sorted(entries):
        raise ValueError(f"must rise; got {' '.join(map(str, entries))}")


def shown(value: Any) -> str:
    """A value in a message, its end left out where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def from_text(kind: Any, texts: Sequence[str]) -> Any:
    """A value of type `kind` from what a user wrote, one text for each entry of a list.

    Raises: ValueError whose message goes on from the name of the option.
    """
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is tuple:
        if Ellipsis not in parts and len(texts) != len(parts):
            raise ValueError(f"takes {len(parts)} values; got {len(texts)}")
        return tuple(_entry(parts[0], text) for text in texts)
    if len(texts) != 1:
        raise ValueError(f"takes one value; got {len(texts)}")
    return _entry(parts[0] if parts else kind, texts[0])


def _entry(kind: type, text: str) -> Any:
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError(f"must be true or false; got {shown(text)}")
        return text.lower() in TRUE
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):  # so Python writes bytes that are no UTF-8
        raise ValueError(f"must be text in UTF-8 without NUL; got {shown(text)}")
    try:
        return kind(text)
    except ValueError as error:
        what = {int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"must be {what}; got {shown(text)}") from error


def expanded(text: str, path: bool | str = True) -> str:
    """A path with the home folder for a leading `~`; `path` as `option` has it.

    Raises: ValueError for an empty path, which is neither the current folder nor none, and where no home folder is known.
    """
    if not text:
        raise ValueError("must not be empty: give a name")
    kind, separator, rest = ("", "", text) if path is True else text.partition(str(path))
    if not rest.startswith("~"):
        return text
    found = os.path.expanduser(rest)
    if found.startswith("~") or os.environ.get("HOME") == "":
        raise ValueError(f"begins with ~, and no such home folder is known; got {shown(text)}")
    return kind + separator + found


@cache
def declarations(options: type) -> dict[str, Declared]:
    """What `option` says of each field of a dataclass, by name."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(options)}


@cache
def types(options: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, by name."""
    hints = typing.get_type_hints(options)
    return {field.name: hints[field.name] for field in dataclasses.fields(options)}


def nearest(word: str, known: Iterable[str], *, sign: str = "") -> str:
    """The end of a sentence about an unknown word: the known one that is nearest, or all of them, each after `sign`."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {sign}{match[0]}?" if match else f"; known: {', '.join(sign + name for name in known)}"
