"""Tasks on several processes: results as they come, and no way of stopping that leaves anything waiting."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import pool
from harness.errors import Interrupted, UserError
from harness.pool import run_all

pytestmark = pytest.mark.timeout(90)  # a pool that waits for ever is what is looked for


@dataclass(frozen=True)
class Nap:
    """Waits for the others named, sleeps, deaf to requests to stop (as an evaluation is) or not (as a training)."""

    name: str
    seconds: float = 0.0
    deaf: bool = False
    folder: Path | None = None
    others: tuple[str, ...] = ()

    def __call__(self, report: Any, stop: Any) -> tuple[str, int]:
        if self.folder:
            (self.folder / self.name).touch()
            while not all((self.folder / other).exists() for other in self.others):
                time.sleep(0.02)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            if stop() and not self.deaf:
                raise Interrupted(self.name)
            time.sleep(0.02)
        return self.name, os.getpid()


def idle_and_busy(folder, deaf=False):
    """Two tasks, each in a worker of its own."""
    return [Nap("short", 0.0, False, folder, ("long",)), Nap("long", 3.0, deaf, folder, ("short",))]


def then(act):
    """Waits until the worker of the short task waits for another, holding the lock of the queue; then acts on it."""

    def done(result):
        if result[0] == "short":
            time.sleep(0.5)
            act(result[1])

    return done


@dataclass(frozen=True)
class Mistake:
    """Raises what a user can mend."""

    def __call__(self, report: Any, stop: Any) -> None:
        raise UserError("mend this")


class Odd(Exception):  # noqa: N818
    """Cannot be rebuilt from its message in another process."""

    def __init__(self, one: int, other: int):
        super().__init__(f"{one} and {other}")


@dataclass(frozen=True)
class Fault:
    """Raises what no user can mend."""

    odd: bool = False

    def __call__(self, report: Any, stop: Any) -> int:
        if self.odd:
            raise Odd(1, 2)
        return {"here": 1}["missing"]


def test_all_results_come_in():
    found = []
    run_all([Nap(str(i)) for i in range(5)], workers=2, done=found.append)
    assert sorted(name for name, _ in found) == list("01234")
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.parametrize("deaf", [True, False])
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_request_to_stop_ends_idle_and_busy_workers(tmp_path, which, deaf):
    """One worker has nothing left to do while the other is in a task that does not ask, or asks, whether to stop."""
    with pytest.raises(Interrupted, match="everything is saved"):
        run_all(idle_and_busy(tmp_path, deaf), workers=2, done=then(lambda _: os.kill(os.getpid(), which)))


def test_a_worker_that_is_killed_is_reported(tmp_path):
    with pytest.raises(UserError, match="a worker process was killed"):
        run_all(idle_and_busy(tmp_path), workers=2, done=then(lambda worker: os.kill(worker, signal.SIGKILL)))


def test_a_mistake_ends_the_others_and_workers_say_nothing_of_their_own(capfd):
    with pytest.raises(UserError, match="mend this"):
        run_all([Mistake(), Nap("long", 60.0), Mistake()], workers=2, done=lambda _: None)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("order", "deaf"), [(1, True), (-1, False)], ids=["fault first", "fault last"])
def test_a_fault_ends_the_others_and_shows_where_it_was(monkeypatch, order, deaf):
    """Also one that does not ask whether to stop, and those that have not begun."""
    monkeypatch.setattr(pool, "PATIENCE", 1.0)
    tasks = [Fault(), Nap("long", 60.0, deaf)][::order] + [Nap("later", 60.0, deaf)] * 3
    begin = time.monotonic()
    with pytest.raises(KeyError, match="missing") as caught:
        run_all(tasks, workers=2, done=lambda _: None)
    assert 'return {"here": 1}["missing"]' in str(caught.value.__cause__)
    assert time.monotonic() - begin < 45
    assert not multiprocessing.active_children()


def test_a_fault_that_cannot_travel_is_not_taken_for_a_killed_worker():
    with pytest.raises(RuntimeError, match="Odd: 1 and 2"):
        run_all([Fault(odd=True)], workers=2, done=lambda _: None)
