"""The options of a command as fields of a frozen dataclass. Each field declares its allowed values, which are checked once."""

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
LONGEST = 60  # the most characters of a value that a message repeats
LARGEST = 2**63  # the limit of whole numbers, which torch keeps in 64 bits


class Declared(NamedTuple):
    """What `option` declares about a field: its help and the values that are allowed."""

    help: str  # a complete phrase, with the unit
    group: str = "options"  # the heading under which --help shows the option
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    also: tuple[float, ...] = ()  # numbers outside of these limits that are allowed as well
    usual: str = ""  # what is used where the default is None
    path: bool | str = False  # True for a path; a separator, such as "boxes:", after which a path follows
    rising: bool = False  # the numbers of a list must rise
    repeats: bool = False  # a list may name a value twice
    required: bool = False  # the option has no default
    positional: bool = False  # the option is given by its place, without its name
    large: bool = False  # a whole number may have more than 64 bits

    def allows(self, number: float) -> bool:
        """Whether a number is within the limits or one of `also`."""
        limits = (self.at_least, operator.ge), (self.above, operator.gt), (self.at_most, operator.le), (self.below, operator.lt)
        return number in self.also or all(limit is None or holds(number, limit) for limit, holds in limits)

    def allowed_numbers(self) -> str:
        """The limits in words, as in "at least 1 and below 5"; empty without limits."""
        if self.at_least is not None and self.at_most is not None:
            limits = f"between {self.at_least:,} and {self.at_most:,}"
        else:
            words = ("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below)
            limits = " and ".join(f"{word} {limit:,}" for word, limit in words if limit is not None)
        return f"{' or '.join(map(str, self.also))}, or {limits}" if self.also else limits


def option(default: Any, help: str, *, choices: Iterable[str] = (), **rules: Any) -> Any:
    """A field of a dataclass of options, with its default, its help and the other fields of `Declared` as `rules`."""
    return dataclasses.field(default=default, metadata={"option": Declared(help, choices=tuple(choices), **rules)})


@dataclasses.dataclass(frozen=True)
class Options:
    """Options whose values are checked when an instance is created. A subclass may check several options in `__post_init__`.

    Raises: ValueError, on creation, in one line that names the option, its value and what is allowed.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value != field.default:
                try:
                    _check(declarations(type(self))[field.name], field.default, value)
                except ValueError as error:
                    raise ValueError(f"{self.spelled(field.name)} {error}") from error

    def without(self, *names: str) -> dict[str, Any]:
        """The options by name, but those named: usually the ones on which no result depends."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in names}

    @classmethod
    def spelled(cls, name: str) -> str:
        """The option `name` as the user writes it."""
        declared = declarations(cls)[name]
        return str(declared.metavar) if declared.positional else f"--{name.replace('_', '-')}"


def _check(declared: Declared, default: Any, value: Any) -> None:
    """Raises: ValueError for a value that is not allowed; its message continues a sentence that begins with the option's name."""
    entries, allowed = value if isinstance(value, (tuple, list)) else (value,), declared.allowed_numbers()
    if not entries and default:
        raise ValueError("must not be empty")
    for entry in entries:
        if isinstance(entry, str):
            if declared.choices and entry not in declared.choices:
                raise ValueError(f"does not know {shown(entry)}{nearest(entry, declared.choices)}")
        elif isinstance(entry, float) and not math.isfinite(entry):
            raise ValueError(f"must be finite{f', {allowed}' if allowed else ''}; got {entry}")
        elif not isinstance(entry, bool) and not declared.allows(entry):
            raise ValueError(f"must be {allowed}; got {shown(entry)}")
        elif isinstance(entry, int) and abs(entry) >= LARGEST and not declared.large:
            raise ValueError(f"must be a whole number of at most 63 bits; got {shown(entry)}")
    same = [os.path.realpath(entry) for entry in entries] if declared.path is True else list(entries)
    twice = next((entry for i, entry in enumerate(entries) if same[i] in same[:i]), None)
    if twice is not None and not declared.repeats:
        raise ValueError(f"names {shown(twice)} twice")
    if declared.rising and list(entries) != sorted(entries):
        raise ValueError(f"must rise; got {' '.join(map(str, entries))}")


def shown(value: Any) -> str:
    """A value as a message shows it: only the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def from_text(kind: Any, texts: Sequence[str]) -> Any:
    """The value of type `kind` that a user wrote; `texts` has one text for each entry of a list.

    Raises: ValueError whose message continues a sentence that begins with the option's name.
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
    # Python stands for bytes that are not UTF-8 by letters from U+D800 to U+DFFF
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"must be text in UTF-8 without NUL; got {shown(text)}")
    try:
        return kind(text)
    except ValueError as error:
        what = {int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"must be {what}; got {shown(text)}") from error


def expanded(text: str, path: bool | str = True) -> str:
    """The text of a path with `~` replaced by the home folder; `path` is as in `Declared`.

    Raises: ValueError for an empty text, and for `~` if no such home folder is known.
    """
    if not text:
        raise ValueError("must not be empty: give a name")
    kind, separator, rest = ("", "", text) if path is True else text.partition(str(path))
    if not rest.startswith("~"):
        return text
    absolute = os.path.expanduser(rest)
    if absolute.startswith("~") or os.environ.get("HOME") == "":
        raise ValueError(f"begins with ~, and no such home folder is known; got {shown(text)}")
    return kind + separator + absolute


@cache
def declarations(options: type) -> dict[str, Declared]:
    """What each field of a dataclass of options declares, by name."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(options)}


@cache
def types(options: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, by name."""
    hints = typing.get_type_hints(options)
    return {field.name: hints[field.name] for field in dataclasses.fields(options)}


def nearest(word: str, known: Iterable[str], *, sign: str = "") -> str:
    """The end of a message about an unknown word: the most similar known word, or all known words, each after `sign`."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {sign}{match[0]}?" if match else f"; known: {', '.join(sign + name for name in known)}"
