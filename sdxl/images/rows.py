"""Rows of a table in a file: .csv, .jsonl or .parquet. Each row knows its place, which messages about it name."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError


@dataclass(frozen=True)
class Row:
    """The fields of a row by name; the text of a cell in a .csv file, any value in the others."""

    place: str  # file and line
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        """A field that must be text. Raises: UserError if it is missing, or something else."""
        value = self._given(name)
        if not isinstance(value, str):
            raise UserError(f"{self.place}: the field {name} must be text; got {value!r}")
        return value

    def number(self, name: str) -> float:
        """A field that must be a finite number. Raises: UserError if it is missing, or something else."""
        return finite(self._given(name), f"{self.place}: the field {name}")

    def _given(self, name: str) -> Any:
        value = self.fields.get(name)
        if value is None or value == "":
            raise UserError(f"{self.place}: the field {name} is missing; there is {', '.join(map(str, self.fields)) or 'none'}")
        return value


def finite(value: Any, what: str) -> float:
    """A finite number, given as such or as text. Raises: UserError, which begins with `what`, for anything else."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{what} must be a number; got {value!r}")
    return found


def rows(file: Path) -> list[Row]:
    """The rows of a table. Raises: UserError, which names file and line, for what cannot be read."""
    return readable(file, {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[file.suffix.lower()])


def readable(file: Path, read: Callable[[Path], Any]) -> Any:
    """read(file). Raises: UserError, which names the file, for whatever is wrong with it."""
    try:
        return read(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be read: it is not in UTF-8; save it so") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def loads(text: str) -> Any:
    """A value in JSON. Raises: ValueError for what is no JSON, a name that is given twice, and half a character."""
    text.encode()
    value = json.loads(text, object_pairs_hook=_once)
    json.dumps(value, ensure_ascii=False).encode()  # fails on half a character that JSON wrote as an escape
    return value


class _RepeatError(ValueError):
    """A name is given twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises: _RepeatError for a name that is given twice: json and csv keep the last and say nothing."""
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise _RepeatError(f"{twice[0]!r} is given twice")
    return dict(pairs)


def _csv(file: Path) -> list[Row]:
    """Raises: UserError for rows with more or fewer entries than the first line has names."""
    found, header, place = [], [], f"{file}, line 1"
    with open(file, newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream, strict=True)  # strict: a quote that is never closed would swallow the rest of the file
        try:
            for cells in lines:
                if not header:
                    header = list(_once([(name, None) for name in cells]))
                elif len(cells) == len(header):
                    found.append(Row(place, dict(zip(header, cells, strict=True))))
                elif cells:
                    named = f"the first line names {len(header)} columns ({', '.join(header)})"
                    raise UserError(f"{place} has {len(cells)} entries, and {named}; quote text that holds a comma")
                place = f"{file}, line {lines.line_num + 1}"
        except (csv.Error, _RepeatError) as error:
            raise UserError(f"{place} cannot be read: {error}") from error
    return found


def _json_lines(file: Path) -> list[Row]:
    found = []
    with open(file, newline="", encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            place = f"{file}, line {number}"
            try:
                value = loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{place}, column {error.colno} cannot be read: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise UserError(f"{place} cannot be read: {error}") from error
            if not isinstance(value, dict):
                raise UserError(f"{place} holds no fields: a line must be {{name: value, ...}}")
            found.append(Row(place, value))
    return found


def _parquet(file: Path) -> list[Row]:
    from pyarrow import parquet

    return [Row(f"{file}, row {number}", fields) for number, fields in enumerate(parquet.read_table(file).to_pylist(), 1)]
