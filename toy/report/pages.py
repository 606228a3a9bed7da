"""What every page of the toy track is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import page
from toy.paths import PATHS


def write(out: Path, template: str, results: dict[str, Any], command: str, **values: Any) -> None:
    """Write `out`/report.html from a template of toy/templates, after the figures. `command`: the one that made the run."""
    config = results["config"]
    process = PATHS[config.get("path", "ve")]
    page.write(out, "toy", template, **page.about_run(out, command, config), process=process, **values)
