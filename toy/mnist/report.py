"""The pages of the image experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy.mnist.data import Digits
from toy.problem import Problem


def write_comparison(out: Path, results: dict[str, Any], digits: Digits, problem: Problem) -> None:
    """report.html and figures of `python -m toy mnist`."""
