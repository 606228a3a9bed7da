"""Tasks on several processes, with progress bars. A request to stop lets every task save first."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from tqdm import tqdm

from harness.errors import Interrupted, UserError
from harness.runs import stop_requests


class Task(Protocol):
    """A picklable piece of work.

    `report(name, share, loss)` shows the share that is done. If `stop()` is true, the task saves and raises `Interrupted`.
    """

    def __call__(self, report: Callable[[str, float, float], None], stop: Callable[[], bool]) -> Any: ...


PATIENCE = 10.0  # seconds that the other tasks have to save after a failure; an evaluation does not call stop()
_messages: Any = None


def run_all(tasks: Sequence[Task], *, workers: int, done: Callable[[Any], None]) -> None:
    """Run the tasks, with one thread each and `workers` at a time, and call `done(result)` in the order of completion.

    Raises: Interrupted on SIGINT or SIGTERM, after every task has saved; UserError if a process is killed; and the exception of a
    task, after the others have saved or PATIENCE has passed.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(messages,))
    with stop_requests() as stopping, _progress_bars(messages) as update_bars:
        # workers inherit this: Ctrl-C reaches them by SIGTERM from _end
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pending = {pool.submit(_work, task) for task in tasks}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        complete = False
        try:
            while pending and not stopping():
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                update_bars()
                for future in finished:
                    done(future.result())
            complete = not pending
        except BrokenProcessPool as error:
            if stopping():  # a signal to all processes at once kills workers that have not started their task
                raise Interrupted("everything is saved") from error
            message = "a worker process was killed (out of memory?); the same command resumes from its checkpoint"
            raise UserError(message) from error
        finally:
            processes = list(pool._processes.values())
            pool.shutdown(wait=complete, cancel_futures=True)
            _end(processes, math.inf if stopping() else PATIENCE)
        if pending:
            raise Interrupted("everything is saved")


def _end(processes: Sequence[BaseProcess], patience: float) -> None:
    """Send SIGTERM until all processes have ended, and SIGKILL after `patience` seconds.

    A task saves at the first SIGTERM. Further ones end a worker that waits for a lock which another worker held when it died.
    A killed task loses its work since its last checkpoint.
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
    """Wait until the parent is gone, then send SIGTERM to this process until it ends: its task saves, and then it leaves."""
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
    """Whether an exception can be pickled; the pool takes a worker that sends another exception for one that was killed."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


@contextlib.contextmanager
def _progress_bars(messages: Any) -> Iterator[Callable[[], None]]:
    """A function that shows the messages which have arrived in the queue: one progress bar for each network in training."""
    bars: dict[str, tqdm] = {}

    def update() -> None:
        while True:
            try:
                name, share, loss = messages.get_nowait()
            except queue.Empty:
                return
            if name not in bars:
                layout = "{desc:24} {percentage:3.0f}%|{bar:20}| {elapsed} < {remaining} {postfix}"
                bars[name] = tqdm(total=1.0, desc=name, bar_format=layout, leave=False, disable=None)
            bars[name].n = share
            bars[name].set_postfix_str(f"loss {loss:.4g}" if loss == loss else "")
            if share >= 1:
                bars[name].close()

    try:
        yield update
    finally:
        for bar in bars.values():
            bar.close()
