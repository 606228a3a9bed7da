"""Images with their captions, names and levels, out of the columns of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ambient.config import nearest
from ambient.runs import UserError
from sdxl.tables import Table, table


@dataclass(frozen=True)
class Picture:
    """An image by its name, which its noise follows from, with its caption and its level of nature."""

    key: str
    caption: str
    t_n: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Columns:
    """What a user says of a source."""

    split: str | None = None
    image: str | None = None
    caption: str = "text"
    key: str | None = None
    level: str | None = None
    advice: str = "give one --caption for all"  # where captions are missing


def pictures(data: str, columns: Columns, *, caption: str | None, t_n: int, count: int | None) -> list[Picture]:
    """The first `count` images of a source, in its order: `caption` where there is none, `t_n` where no column says it.

    Raises: UserError for a source that is not there or empty, columns that it lacks, captions that are missing, keys that are
    not unique, levels that are no whole numbers.
    """
    found = table(data, columns.split, columns.image)
    count = min(len(found.names), count or len(found.names))
    if not count:
        raise UserError(f"{data} holds no images")
    keys = [str(key) for key in _column(found, columns.key, "--key-column")] if columns.key else found.names
    twice = [key for key, times in Counter(keys[:count]).items() if times > 1]
    if twice:
        raise UserError(f"{len(twice)} keys are not unique (first: {twice[0]}); each image needs its own, for its own noise")
    captions = _captions(data, found, columns, caption, keys[:count])
    levels = _column(found, columns.level, "--level-column") if columns.level else [t_n] * count
    return [Picture(keys[i], captions[i], _level(levels[i], keys[i]), partial(found.read, i)) for i in range(count)]


def _column(rows: Table, name: str, flag: str) -> list[Any]:
    if name not in rows.known:
        raise UserError(f"there is no column {name!r} for {flag}{nearest(name, rows.known) if rows.known else ''}")
    return rows.column(name)


def _captions(data: str, rows: Table, columns: Columns, otherwise: str | None, keys: list[str]) -> list[str]:
    name, advice = columns.caption, columns.advice
    if name not in rows.known and otherwise is None:
        if not rows.known:
            raise UserError(f"{data} has no captions: write metadata.jsonl with file_name and text, or {advice}")
        raise UserError(f"there is no column {name!r} with captions{nearest(name, rows.known)} (--caption-column); or {advice}")
    values = rows.column(name)[: len(keys)] if name in rows.known else [None] * len(keys)
    other = [type(value).__name__ for value in values if not isinstance(value, str | None)]
    if other:
        raise UserError(f"column {name!r} holds no captions but values of type {other[0]}")
    missing = [key for key, value in zip(keys, values, strict=True) if not (value or "").strip()]
    if missing and otherwise is None:
        raise UserError(f"{len(missing)} of {len(keys)} images have no caption (first: {missing[0]}); add theirs, or {advice}")
    return [value if value and value.strip() else otherwise or "" for value in values]


def _level(value: Any, key: str) -> int:
    try:
        number = float(value)
        if number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the level of {key} is {value!r}; t_n is a whole number, 0 for a clean image") from error
    return int(number)
