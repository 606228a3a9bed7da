"""The processes of a command: one, or as many as `torchrun` or `accelerate launch` started."""

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
    """This process among the others, and how they work together.

    `rank`: its number from 0; `size`: the number of processes; `main`: whether it is the first, which prints and writes the run
    directory; `device`: where it computes.
    """

    def __init__(self) -> None:
        from accelerate import PartialState

        if torch.distributed.is_available():
            # imported before a group exists: its functions would keep that group, and its threads abort when Python ends
            importlib.import_module("torch.distributed.nn")
        _refuse_settings()
        patience = timedelta(days=7)  # a process may wait hours for one that reads or fetches; if one dies, all end at once
        self.state = PartialState(cpu=not torch.cuda.is_available(), timeout=patience)
        self.rank, self.size = self.state.process_index, self.state.num_processes
        self.main = self.rank == 0
        self.device = self.state.device or torch.device("cpu")

    def say(self, *lines: str) -> None:
        """Print lines in the first process, in one write: with print, under python -u, lines of other processes come between."""
        if self.main:
            sys.stdout.write("\n".join([*lines, ""]))
            sys.stdout.flush()

    def together(self, work: Callable[[], T]) -> T:
        """The result of `work` in this process. All processes call it; if `work` fails in one of them, all end.

        Raises: UserError in the first process, which names the cause, and SystemExit in the others.
        """
        result, why = None, None
        try:
            result = work()
        except UserError as error:
            why = str(error)
        except OSError as error:
            why = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}{INTACT}"
        self.end_if([reason for reason in self.gather(why) if reason])
        return result  # type: ignore[return-value]

    def by_main(self, work: Callable[[], T]) -> T:
        """The result of `work`, done by the first process and sent to all. Raises: as `together`."""
        result: list[Any] = [self.on_main(work)]
        if self.size > 1:
            torch.distributed.broadcast_object_list(result, src=0)
        return result[0]

    def on_main(self, work: Callable[[], T]) -> T | None:
        """The result of `work`, done by the first process; None in the others. Raises: as `together`."""
        return self.together(lambda: work() if self.main else None)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of the tensors of all processes, written to `values`."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def split(self, items: Sequence[T]) -> list[Sequence[T]]:
        """The items in rounds, in each at most one item for each process."""
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
        """Call work(item) for all items. Each process takes its item of a round; a failure ends all after the round.

        Args: doing: the label of the progress bar; unit: what "3 of 8 ..." counts in the message of an interruption; weigh: the
        number of images of an item. Raises: Interrupted, in the first process, if one was asked to stop; as `together`.
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
        """The run directory, open in the first process and None in the others, and a function: was this process asked to stop?

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
        """As `run`, for a command without checkpoints; writes DONE at the end."""
        with self.run(out, identity) as (run, stopping):
            yield stopping
            if run is not None:
                run.finish()

    def employ(self, count: int, of: str) -> None:
        """Raises: UserError if there are fewer images than processes."""
        if count < self.size:
            raise UserError(f"{of}: images to work on: {count}, processes: {self.size}; start no more processes than images")

    def end_if(self, reasons: list[str]) -> None:
        """End all processes with the first reason, if there is one. All must call this with the same reasons."""
        if reasons:
            if self.main:
                raise UserError(reasons[0])
            raise SystemExit(2)

    def interrupt(self, message: str) -> NoReturn:
        """Raises: Interrupted with the message in the first process, SystemExit in the others. All must call this."""
        raise Interrupted(message) if self.main else SystemExit(130)

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def close(self) -> None:
        """Leave the group. Processes wait for each other, since one that still sends would abort; a failed one does not wait."""
        if self.size > 1 and torch.distributed.is_initialized():
            if sys.exc_info()[0] is None:
                self.state.wait_for_everyone()
            torch.distributed.destroy_process_group()


def _refuse_settings() -> None:
    """Raises: UserError, in the first process, if accelerate's settings ask for what this code does not use; SystemExit."""
    unused = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}
    asked = [f"{name} ({key})" for key, name in unused.items() if os.environ.get(key, "false").lower() in ("true", "1")]
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower() == "fp8":
        asked.append("the precision fp8 (ACCELERATE_MIXED_PRECISION)")
    if asked and int(os.environ.get("RANK", 0)) > 0:
        raise SystemExit(2)
    if asked:
        raise UserError(
            f"accelerate's settings ask for {' and '.join(asked)}, which is not used here; start the processes with torchrun, or "
            "set accelerate anew with `accelerate config`"
        )
