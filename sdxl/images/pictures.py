"""Images with their captions, names and levels, read from the columns of a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.errors import UserError
from harness.wording import few, several
from sdxl.images.formats import Table, read_table, unknown_column
from sdxl.images.rows import finite


@dataclass(frozen=True)
class Picture:
    """An image by its key, from which its noise follows, with its caption and its data level t_n."""

    key: str
    caption: str
    t_n: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Columns:
    """The split of a data source and its columns, as the user named them."""

    split: str | None = None
    image: str | None = None
    caption: str = "text"
    key: str | None = None
    level: str | None = None
    advice: str = 'give them one with --caption ("" for none)'  # for an error about missing captions


def pictures(
    data: str,
    columns: Columns,
    *,
    caption: str | None,
    t_n: int,
    count: int | None,
    say: Callable[[str], object] = print,
) -> list[Picture]:
    """The first `count` images of a source, in its order.

    Args: caption: for images without one; None: such images are refused; t_n: the level where no column has it; say: prints how
    the source was read, and what in it is left out.
    Raises: UserError for a source that does not exist or is empty, columns that it lacks, captions that are missing, keys that
    are not unique, levels that are not whole numbers.
    """
    table = read_table(data, columns.split, columns.image)
    count = min(len(table.keys), count or len(table.keys))
    if not count:
        raise UserError(f"{data} holds no images")
    keys = _keys(table, columns.key, count)
    captions = _captions(data, table, columns, caption, keys)
    levels = [t_n] * count
    if columns.level:
        values = _column(table, columns.level, "--level-column", count)
        levels = [_level(value, f"{table.place(i)}: the field {columns.level}") for i, value in enumerate(values)]
    say(f"{data}: {table.description}")
    if table.left_out:
        say(f"left out of {data}: {table.left_out}")
    return [Picture(keys[i], captions[i], levels[i], partial(table.read, i)) for i in range(count)]


def _column(table: Table, name: str, option: str, count: int) -> list[Any]:
    """The first values of a column. Raises: UserError, which names the option, if there is no such column."""
    if name not in table.columns:
        raise UserError(unknown_column(name, option, table.columns))
    return table.values(name)[:count]


def _keys(table: Table, column: str | None, count: int) -> list[str]:
    """Raises: UserError for keys that are missing, neither text nor numbers, or not unique."""
    values = _column(table, column, "--key-column", count) if column else table.keys[:count]
    for i, value in enumerate(values):
        number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        if not (number or (isinstance(value, str) and value)):
            raise UserError(f"{table.place(i)}: the field {column} must be a key, text or a number; got {value!r}")
    keys = [str(value) for value in values]
    repeated = [key for key, times in Counter(keys).items() if times > 1]
    if repeated:
        raise UserError(
            f"{len(repeated)} keys are not unique (first: {repeated[0]}); each image needs its own, for its own noise"
        )
    return keys


def _captions(data: str, table: Table, columns: Columns, default: str | None, keys: list[str]) -> list[str]:
    """The captions, `default` where there is none. Raises: UserError for one that is no text, or missing without a default."""
    name, advice = columns.caption, columns.advice
    if name not in table.columns and default is None:
        if not table.columns:
            raise UserError(f"{data} has no captions: write metadata.jsonl with file_name and text, or {advice}")
        raise UserError(f"{data}: {unknown_column(name, '--caption-column', table.columns)}; or {advice}")
    values = table.values(name)[: len(keys)] if name in table.columns else [None] * len(keys)
    for i, value in enumerate(values):
        if not isinstance(value, str | None):
            raise UserError(f"{table.place(i)}: the field {name} must be text; got {value!r}")
    missing = [key for key, value in zip(keys, values, strict=True) if not (value or "").strip()]
    if missing and default is None:
        stray = table.rows_without_file
        hint = f", and {several(len(stray), 'row')} of metadata name no file ({few(stray, 2)})" if stray else ""
        raise UserError(
            f"{len(missing)} of {len(keys)} images have no caption (first: {missing[0]}){hint}; add theirs, or {advice}"
        )
    return [value if value and value.strip() else default or "" for value in values]


def _level(value: Any, field: str) -> int:
    """Raises: UserError, which names the field, unless the value is a whole number."""
    field = f"{field}, t_n of an image or 0 for a clean one,"
    number = finite(value, field)
    if number != int(number):
        raise UserError(f"{field} must be a whole number; got {value!r}")
    return int(number)
