"""How the checks run: hypothesis profiles, threads, and the scorecard after the run.

pytest theory_checks                              the `ci` profile: the same draws every time
HYPOTHESIS_PROFILE=nightly pytest theory_checks   2,000 fresh draws a statement (or --hypothesis-profile=nightly)
pytest theory_checks --write-scorecard            also rewrites docs/scorecard.md
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from theory_checks import scorecard

HERE = Path(__file__).parent

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, **common)
settings.register_profile("ci", max_examples=40, derandomize=True, print_blob=True, **common)
settings.register_profile("nightly", max_examples=2000, print_blob=True, **common)
settings.register_profile("mutants", max_examples=8, derandomize=True, phases=[Phase.explicit, Phase.generate], **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

torch.set_num_threads(
    1
)  # with small tensors on busy cores, threads wait for one another, and a check takes up to ten times as long


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-scorecard", action="store_true", help="write docs/scorecard.md after a run without failures")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the results of a pytest-xdist worker to the main process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["scorecard"] = scorecard.found()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the results of a worker to those of the main process."""
    scorecard.add(getattr(node, "workeroutput", {}).get("scorecard", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Print the scorecard and write it beside this file."""
    rows = scorecard.rows()
    if not rows:
        return
    terminalreporter.section("scorecard")
    width = max(len(row["statement"]) for row in rows)
    terminalreporter.write_line(f"{'statement':{width}}  draws  worst  mutants  what it says")
    for row in rows:
        mutants = f"{len(row['mutants_rejected'])}/{len(row['mutants_tried'])}"
        line = f"{row['statement']:{width}}  {row['draws']:5d}  {row['worst_ratio']:5.2g}  {mutants:>7}  {row['title']}"
        terminalreporter.write_line(line)
    terminalreporter.write_line("worst: the largest error over its tolerance; mutants: wrong formulas rejected by that tolerance")
    scorecard.write_json(HERE / "scorecard.json")
    if config.getoption("--write-scorecard"):
        if exitstatus:
            terminalreporter.write_line("docs/scorecard.md is left as it was: the run did not pass")
        else:
            scorecard.write_markdown(HERE.parent / "docs" / "scorecard.md")
