"""Tasks on several processes, with progress, that stop together and leave everything saved."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from tqdm import tqdm

from harness.errors import Interrupted, UserError
from harness.runs import stop_requests


class Task(Protocol):
    """A picklable piece of work. `report(name, share done, loss)` shows progress; `stop()` says when to save and leave."""

    def __call__(self, report: Callable[[str, float, float], None], stop: Callable[[], bool]) -> Any: ...


PATIENCE = 10.0  # seconds, after a failure, for the other tasks to save; an evaluation does not ask whether to stop
_messages: Any = None


def run_all(tasks: Sequence[Task], *, workers: int, done: Callable[[Any], None]) -> None:
    """Run the tasks, one thread each, `workers` at a time; `done(result)` in order of completion.

    Raises: Interrupted once every task has saved, on SIGINT or SIGTERM; UserError if a process is killed; and what a task raises,
    with its traceback, once the others have saved or PATIENCE is at its end.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(messages,))
    with stop_requests() as stopping, Bars(messages) as bars:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # workers inherit it: Ctrl-C reaches them through here
        pending = {pool.submit(_work, task) for task in tasks}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        complete = False
        try:
            while pending and not stopping():
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                bars.update()
                for future in finished:
                    done(future.result())
            complete = not pending
        except BrokenProcessPool as error:
            if stopping():  # a signal to all processes at once ends those that have not begun
                raise Interrupted("everything is saved") from error
            message = "a worker process was killed (out of memory?); the same command goes on from its checkpoint"
            raise UserError(message) from error
        finally:
            processes = list(pool._processes.values())
            pool.shutdown(wait=complete, cancel_futures=True)
            _end(processes, math.inf if stopping() else PATIENCE)
        if pending:
            raise Interrupted("everything is saved")


def _end(processes: Sequence[BaseProcess], patience: float) -> None:
    """SIGTERM until all have left: a task saves at the first; after it, a worker may wait for a lock that died with another.

    Those that have not left after `patience` seconds are killed, which loses what they have done since their last checkpoint.
    """
    deadline = time.monotonic() + patience
    while any(process.is_alive() for process in processes):
        for process in processes:
            process.terminate() if time.monotonic() < deadline else process.kill()
        time.sleep(0.2)


def _start(messages: Any) -> None:
    global _messages
    _messages = messages
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Where the parent was killed: SIGTERM, so that a task saves, and again, to end a worker that waits for the next task."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)


def _work(task: Task) -> Any:
    with stop_requests() as stopping:
        try:
            return task(lambda *message: _messages.put(message), stopping)
        except Exception as error:
            if _can_travel(error):
                raise
            raise RuntimeError("".join(traceback.format_exception(error))) from None


def _can_travel(error: Exception) -> bool:
    """Whether another process can be told: one that cannot be rebuilt there would be taken for a worker that was killed."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


class Bars:
    """A progress bar for each network in training, fed from a queue."""

    def __init__(self, messages: Any):
        self.messages, self.bars = messages, dict[str, tqdm]()

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self.bars.values():
            bar.close()

    def update(self) -> None:
        """Show what has come in."""
        while True:
            try:
                name, share, loss = self.messages.get_nowait()
            except queue.Empty:
                return
            if name not in self.bars:
                layout = "{desc:24} {percentage:3.0f}%|{bar:20}| {elapsed} < {remaining} {postfix}"
                self.bars[name] = tqdm(total=1.0, desc=name, bar_format=layout, leave=False, disable=None)
            bar = self.bars[name]
            bar.n = share
            bar.set_postfix_str(f"loss {loss:.4g}" if loss == loss else "")
            if share >= 1:
                bar.close()
