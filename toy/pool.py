"""Tasks on several processes, with progress, that stop together and leave everything saved."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ambient.runs import Interrupted, UserError, stop_requests


class Task(Protocol):
    """A picklable piece of work. `report(name, share done, loss)` shows progress; `stop()` says when to save and leave."""

    def __call__(self, report: Callable[[str, float, float], None], stop: Callable[[], bool]) -> Any: ...


_messages: Any = None


def run_all(tasks: Sequence[Task], *, workers: int, done: Callable[[Any], None]) -> None:
    """Run the tasks, one thread each, `workers` at a time; `done(result)` in order of completion.

    Raises: Interrupted once every task has saved, on SIGINT or SIGTERM; UserError if a process is killed.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(messages,))
    with stop_requests() as stopping, Bars(messages) as bars:
        pending = {pool.submit(_work, task, os.getpid()) for task in tasks}
        try:
            while pending and not stopping():
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                bars.update()
                for future in finished:
                    done(future.result())
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed (out of memory?); the same command goes on from its checkpoint"
            ) from error
        finally:
            for process in list(pool._processes.values()) if pending else []:
                process.terminate()  # SIGTERM: workers save and leave
            pool.shutdown(wait=True, cancel_futures=True)
        if pending:
            raise Interrupted("everything is saved")


def _start(messages: Any) -> None:
    global _messages
    _messages = messages
    torch.set_num_threads(1)


def _work(task: Task, parent: int) -> Any:
    with stop_requests() as stopping:
        return task(lambda *message: _messages.put(message), lambda: stopping() or os.getppid() != parent)


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
