"""The processes of a run: one, or as many as torchrun or accelerate launch have started."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from tqdm import tqdm

from harness.errors import Interrupted, UserError
from harness.runs import Run, stop_requests

T = TypeVar("T")
INTACT = "; what was written before is intact: mend it and run the same command"


class Group:
    """Who we are among the processes, and how they agree."""

    def __init__(self) -> None:
        from accelerate import PartialState

        if torch.distributed.is_available():
            # before there is a group: as defaults its functions keep the one they find, whose threads then abort as Python ends
            importlib.import_module("torch.distributed.nn")
        _refuse_settings()
        patience = timedelta(days=7)  # one may wait for hours for another that reads or fetches; a dead one ends all at once
        self.state = PartialState(cpu=not torch.cuda.is_available(), timeout=patience)

    @property
    def rank(self) -> int:
        """Our number, from 0."""
        return self.state.process_index

    @property
    def size(self) -> int:
        """How many there are."""
        return self.state.num_processes

    @property
    def main(self) -> bool:
        """Whether we are the one that speaks and keeps the run directory."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where our tensors live."""
        return self.state.device or torch.device("cpu")

    def say(self, *lines: str) -> None:
        """Print lines in the first process: in one piece, which print under python -u does not, so that others do not mix in."""
        if self.main:
            sys.stdout.write("\n".join([*lines, ""]))
            sys.stdout.flush()

    def together(self, work: Callable[[], T]) -> T:
        """Our result of `work`, which every process does; where one fails, all end, and the first tells why.

        Raises: UserError in the first process, SystemExit in the others.
        """
        result, why = None, None
        try:
            result = work()
        except UserError as error:
            why = str(error)
        except OSError as error:
            why = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}{INTACT}"
        self.end_if([found for found in self.gather(why) if found])
        return result  # type: ignore[return-value]

    def by_main(self, work: Callable[[], T]) -> T:
        """The result that the first process has of `work`, for all. Raises: as `together`."""
        result: list[Any] = [self.on_main(work)]
        if self.size > 1:
            torch.distributed.broadcast_object_list(result, src=0)
        return result[0]

    def on_main(self, work: Callable[[], T]) -> T | None:
        """The result of `work` in the first process, None in the others. Raises: as `together`."""
        return self.together(lambda: work() if self.main else None)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over processes."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def split(self, items: Sequence[T]) -> list[Sequence[T]]:
        """Rounds of items, at most one for each process."""
        return [items[first : first + self.size] for first in range(0, len(items), self.size)]

    def in_rounds(
        self,
        rounds: Sequence[Sequence[T]],
        work: Callable[[T], object],
        *,
        stopping: Callable[[], bool],
        doing: str,
        unit: str = "images are done",
        weigh: Callable[[T], int] = lambda _: 1,
    ) -> None:
        """work(item), each process its item of a round, so that no failure waits long; a bar over what items `weigh`.

        Raises: Interrupted, in the first process, if one of them was asked to stop before the end; as `together`.
        """
        total, done = sum(weigh(item) for now in rounds for item in now), 0
        with tqdm(total=total, desc=doing, unit="image", disable=None if self.main else True) as bar:
            for now in rounds:
                self.together(lambda mine=now[self.rank : self.rank + 1]: [work(item) for item in mine])
                step = sum(map(weigh, now))
                done += step
                bar.update(step)
                if any(self.gather(stopping())) and done < total:
                    self.interrupt(f"{done} of {total} {unit}")

    @contextmanager
    def run(self, out: str, identity: Any, *, keep: int = 2) -> Iterator[tuple[Run | None, Callable[[], bool]]]:
        """The run directory, open in the first process alone (None in the others), and whether this process was asked to stop.

        Raises: as `Run`, in all processes.
        """
        run = self.on_main(lambda: Run(out, identity, keep=keep))
        try:
            with stop_requests() as stopping:
                yield run, stopping
        finally:
            if run is not None:
                run.close()

    @contextmanager
    def results(self, out: str, identity: dict[str, Any]) -> Iterator[Callable[[], bool]]:
        """As `run`, for a command without checkpoints: DONE is written at the end."""
        with self.run(out, identity) as (run, stopping):
            yield stopping
            if run is not None:
                run.finish()

    def employ(self, count: int, of: str) -> None:
        """Raises: UserError if there are fewer images than processes."""
        if count < self.size:
            raise UserError(f"{of}: images to work on: {count}, processes: {self.size}; start no more processes than images")

    def end_if(self, reasons: list[str]) -> None:
        """End all processes if there is a reason. All must call it with the same ones."""
        if reasons:
            if self.main:
                raise UserError(reasons[0])
            raise SystemExit(2)

    def interrupt(self, message: str) -> NoReturn:
        """Raises: Interrupted with the message in the first process, SystemExit in the others. All must call this."""
        raise Interrupted(message) if self.main else SystemExit(130)

    def gather(self, value: Any) -> list[Any]:
        """What each process has, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def close(self) -> None:
        """Leave the others: when all are at the end, else one that still talks to another aborts. A failed one waits for none."""
        if self.size > 1 and torch.distributed.is_initialized():
            if sys.exc_info()[0] is None:
                self.state.wait_for_everyone()
            torch.distributed.destroy_process_group()


def _refuse_settings() -> None:
    """Raises: UserError, in the first process, where accelerate is set to run what is not run here; SystemExit in the others."""
    asked = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}
    found = [f"{name} ({key})" for key, name in asked.items() if os.environ.get(key, "false").lower() in ("true", "1")]
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower() == "fp8":
        found.append("the precision fp8 (ACCELERATE_MIXED_PRECISION)")
    if found and int(os.environ.get("RANK", 0)) > 0:
        raise SystemExit(2)
    if found:
        raise UserError(
            f"accelerate's settings ask for {' and '.join(found)}, which is not used here; start the processes with torchrun, or "
            "set accelerate anew with `accelerate config`"
        )
