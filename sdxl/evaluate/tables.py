"""What every evaluation writes: results.json, tables for readers and for programs, figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from csv import DictWriter
from pathlib import Path
from typing import Any

from harness import records
from harness.files import to_plain, write_atomically


def recorded(config: Any) -> dict[str, Any]:
    """The options that results.json records: all but where the results go. `harness.config.to_argv` makes a command of them."""
    return to_plain(config.without("out", "dry_run"))


def labels(sources: Sequence[str]) -> list[str]:
    """The last parts of paths; whole paths if two last parts are the same."""
    names = [Path(source).name or source for source in sources]
    return names if len(set(names)) == len(names) else list(sources)


def write(out: Path, results: Any, shown: str, rows: list[dict[str, Any]], *, csv: str = "table.csv") -> None:
    """Write `results` to results.json, the text `shown` to table.md, and `rows` to the file `csv`."""
    stream = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)  # a row leaves out what it has not
    table = DictWriter(stream, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    records.write(out / "results.json", results)
    write_atomically(out / csv, stream.getvalue().encode())
    write_atomically(out / "table.md", shown.encode())
