"""Images with their captions, names and levels, out of the columns of a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.errors import UserError
from harness.wording import few, several
from sdxl.images.formats import Table, table, unknown_column
from sdxl.images.rows import finite


@dataclass(frozen=True)
class Picture:
    """An image by its name, which its noise follows from, with its caption and its data level t_n."""

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


def pictures(
    data: str,
    columns: Columns,
    *,
    caption: str | None,
    t_n: int,
    count: int | None,
    say: Callable[[str], object] = print,
) -> list[Picture]:
    """The first `count` images of a source, in its order: `caption` where there is none, `t_n` where no column says it.

    `say` is told what the source was taken for, and what in it is left out.
    Raises: UserError for a source that is not there or empty, columns that it lacks, captions that are missing, keys that are
    not unique, levels that are no whole numbers.
    """
    found = table(data, columns.split, columns.image)
    count = min(len(found.names), count or len(found.names))
    if not count:
        raise UserError(f"{data} holds no images")
    keys = _keys(found, columns.key, count)
    captions = _captions(data, found, columns, caption, keys)
    levels = [t_n] * count
    if columns.level:
        levels = [
            _level(value, found.place(i), columns.level)
            for i, value in enumerate(_column(found, columns.level, "--level-column", count))
        ]
    say(f"{data}: {found.kind}")
    if found.left_out:
        say(f"left out of {data}: {found.left_out}")
    return [Picture(keys[i], captions[i], levels[i], partial(found.read, i)) for i in range(count)]


def _column(rows: Table, name: str, option: str, count: int) -> list[Any]:
    """The first values of a column. Raises: UserError if there is none of this name."""
    if name not in rows.known:
        raise UserError(unknown_column(name, option, rows.known))
    return rows.column(name)[:count]


def _keys(rows: Table, column: str | None, count: int) -> list[str]:
    """Raises: UserError for keys that are missing, are no text or number, or are there twice."""
    values = _column(rows, column, "--key-column", count) if column else rows.names[:count]
    for i, value in enumerate(values):
        number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        if not (number or (isinstance(value, str) and value)):
            raise UserError(f"{rows.place(i)}: the field {column} must be a key, text or a number; got {value!r}")
    keys = [str(value) for value in values]
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise UserError(f"{len(twice)} keys are not unique (first: {twice[0]}); each image needs its own, for its own noise")
    return keys


def _captions(data: str, rows: Table, columns: Columns, otherwise: str | None, keys: list[str]) -> list[str]:
    name, advice = columns.caption, columns.advice
    if name not in rows.known and otherwise is None:
        if not rows.known:
            raise UserError(f"{data} has no captions: write metadata.jsonl with file_name and text, or {advice}")
        raise UserError(f"{data}: {unknown_column(name, '--caption-column', rows.known)}; or {advice}")
    values = rows.column(name)[: len(keys)] if name in rows.known else [None] * len(keys)
    for i, value in enumerate(values):
        if not isinstance(value, str | None):
            raise UserError(f"{rows.place(i)}: the field {name} must be text; got {value!r}")
    missing = [key for key, value in zip(keys, values, strict=True) if not (value or "").strip()]
    if missing and otherwise is None:
        lost = f"{several(len(rows.lost), 'row')} of metadata name no file ({few(rows.lost, 2)})"
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no caption (first: {missing[0]})"
            f"{f', and {lost}' if rows.lost else ''}; add theirs, or {advice}"
        )
    return [value if value and value.strip() else otherwise or "" for value in values]


def _level(value: Any, place: str, column: str) -> int:
    what = f"{place}: the field {column}, t_n of an image or 0 for a clean one,"
    number = finite(value, what)
    if number != int(number):
        raise UserError(f"{what} must be a whole number; got {value!r}")
    return int(number)
