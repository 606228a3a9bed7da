"""The rows of a .csv, .jsonl or .parquet file. Each row knows its file and line, for messages."""

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
    """The fields of a row by name: text from a .csv file, any value from the others."""

    place: str  # file and line
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        """The text in a field. Raises: UserError if it is missing or no text."""
        value = self._given(name)
        if not isinstance(value, str):
            raise UserError(f"{self.place}: the field {name} must be text; got {value!r}")
        return value

    def number(self, name: str) -> float:
        """The finite number in a field. Raises: UserError if it is missing or no such number."""
        return finite(self._given(name), f"{self.place}: the field {name}")

    def _given(self, name: str) -> Any:
        value = self.fields.get(name)
        if value is None or value == "":
            raise UserError(f"{self.place}: the field {name} is missing; there is {', '.join(map(str, self.fields)) or 'none'}")
        return value


def finite(value: Any, what: str) -> float:
    """A finite number, given as a number or as text. Raises: UserError, which begins with `what`, for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{what} must be a number; got {value!r}")
    return number


def rows(file: Path) -> list[Row]:
    """The rows of a file. Raises: UserError, which names file and line, for a row that cannot be read."""
    return readable(file, {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}[file.suffix.lower()])


def readable(file: Path, read: Callable[[Path], Any]) -> Any:
    """The result of read(file). Raises: UserError, which names the file, if it cannot be read."""
    try:
        return read(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be read: it is not in UTF-8; save it so") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def loads(text: str) -> Any:
    """The value of a JSON text. Raises: ValueError for a text that is no JSON, repeats a name, or holds half a character."""
    text.encode()
    value = json.loads(text, object_pairs_hook=_once)
    json.dumps(value, ensure_ascii=False).encode()  # fails on an escape of half a character
    return value


class _RepeatError(ValueError):
    """A name is given twice in one row."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict. Raises: _RepeatError for a name that is given twice, where json and csv silently keep the last."""
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise _RepeatError(f"{repeated[0]!r} is given twice")
    return dict(pairs)


def _csv(file: Path) -> list[Row]:
    """Raises: UserError for a row with more or fewer entries than the first line has names."""
    listed, header, place = [], [], f"{file}, line 1"
    with open(file, newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream, strict=True)  # strict: a quote that is never closed would swallow the rest of the file
        try:
            for cells in lines:
                if not header:
                    header = list(_once([(name, None) for name in cells]))
                elif len(cells) == len(header):
                    listed.append(Row(place, dict(zip(header, cells, strict=True))))
                elif cells:
                    named = f"the first line names {len(header)} columns ({', '.join(header)})"
                    raise UserError(f"{place} has {len(cells)} entries, and {named}; quote text that holds a comma")
                place = f"{file}, line {lines.line_num + 1}"
        except (csv.Error, _RepeatError) as error:
            raise UserError(f"{place} cannot be read: {error}") from error
    return listed


def _json_lines(file: Path) -> list[Row]:
    listed = []
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
            listed.append(Row(place, value))
    return listed


def _parquet(file: Path) -> list[Row]:
    from pyarrow import parquet

    return [Row(f"{file}, row {number}", fields) for number, fields in enumerate(parquet.read_table(file).to_pylist(), 1)]
