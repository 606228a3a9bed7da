"""`python -m toy` as a user meets it: in this process where only the words matter, as a process of its own where signals do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from harness.commands import command
from harness.pool import Task
from harness.runs import read_metrics
from harness.states import unpack
from toy.__main__ import main
from toy.experiments import fit


class Answer(NamedTuple):
    """What a command left on the terminal."""

    code: int
    out: str
    error: str


class Here:
    """Runs `python -m toy WORDS` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.monkeypatch, self.capsys = monkeypatch, capsys
        without_pool(monkeypatch)

    def __call__(self, *words: object) -> Answer:
        self.monkeypatch.setattr("sys.argv", ["toy", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            command(main)
        printed = self.capsys.readouterr()
        return Answer(int(caught.value.code or 0), printed.out, printed.err)

    def refusal(self, *words: object) -> str:
        """The words of an error: exit code 2, one line, nothing else on stderr."""
        answer = self(*words)
        assert answer.code == 2
        assert answer.error.startswith("error: ")
        assert answer.error.count("\n") == 1
        return answer.error


def without_pool(patch: pytest.MonkeyPatch) -> None:
    """Tasks run in this process, one after the other: a pool, whose processes import everything anew, costs more than they do."""

    def here(tasks: Sequence[Task], workers: int, done: Callable[[Any], None]) -> None:
        for task in tasks:
            done(task(lambda *_: None, lambda: False))

    patch.setattr(fit, "run_all", here)


def start(*words: object) -> subprocess.Popen[str]:
    """`python -m toy WORDS` in a group of processes of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-m", "toy", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> Answer:
    """Wait for the end; whatever happens, no process of the group is left."""
    try:
        out, error = process.communicate(timeout=seconds)
    finally:
        if left_of(process):
            os.killpg(process.pid, signal.SIGKILL)
    return Answer(process.returncode, out, error)


def left_of(process: subprocess.Popen[str]) -> bool:
    """Whether any process of its group is alive."""
    process.poll()  # buries the first of them if it is dead
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_left(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until the whole group is gone."""
    deadline = time.monotonic() + seconds
    while left_of(process):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.05)


def wait_for_step(process: subprocess.Popen[str], network: Path, step: int, seconds: float = 120) -> None:
    """Wait until a network in training has reported a step."""
    metrics = network / "metrics.jsonl"

    def reached() -> bool:
        return metrics.exists() and max((row["step"] for row in read_metrics(metrics)), default=0) >= step

    wait_until(reached, process, seconds)


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait for what a process that is alive brings about."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < deadline, "made no progress"
        time.sleep(0.02)


def final_weights(run: Path, network: str = "ours") -> dict:
    """The newest checkpoint of a network but the time it took: weights, their average, the optimiser's state."""
    found = unpack(sorted((run / "networks/seed_0" / network / "checkpoints").glob("step_*"))[-1].read_bytes())
    return {key: value for key, value in found.items() if key != "seconds"}


def same_bits(first: object, second: object) -> bool:
    """Equality of containers of tensors, to the last bit; NaN equals itself."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(
            torch.nan_to_num(first), torch.nan_to_num(second)
        )  # fmt: skip
    if isinstance(first, dict):
        return isinstance(second, dict) and first.keys() == second.keys() and all(same_bits(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return isinstance(second, (list, tuple)) and len(first) == len(second) and all(map(same_bits, first, second))
    return first == second
