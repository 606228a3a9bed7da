"""The real training loop in float64 on a small UNet, by one process or by several that meet in threads of this one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ambient.randomness import generator
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.model import tiny
from sdxl.model.base import Base
from sdxl.parallel import Group
from sdxl.train import loop
from sdxl.train.loop import Loop
from sdxl.train.options import TrainOptions


class DoubleBase(Base):
    """A base whose UNet is in float64 after `in_double`."""

    def unet(self, dtype: torch.dtype = torch.float32) -> Any:
        return super().unet(dtype).float()


def in_double(patch: pytest.MonkeyPatch) -> None:
    """What the product rounds to float32 stays in float64 until `patch` is undone."""
    patch.setattr(Tensor, "float", Tensor.double)


def null_condition() -> dict[str, Tensor]:
    """A condition without a caption that is not zero, as some bases have it."""
    source = generator(0, "no caption")
    return {
        "prompt_embeds": torch.randn(1, 77, 2 * tiny.TINY.text, generator=source),
        "pooled": torch.randn(1, tiny.TINY.text, generator=source),
    }


class Meeting:
    """Where the processes of a group, threads here, add up what each of them has."""

    def __init__(self, size: int):
        self.size, self.barrier, self.brought = size, threading.Barrier(size, timeout=600), dict[int, Any]()

    def gather(self, rank: int, value: Any) -> list[Any]:
        self.brought[rank] = value
        self.barrier.wait()
        found = [self.brought[i] for i in range(self.size)]
        self.barrier.wait()
        return found

    def each(self, work: Callable[[int], Any]) -> list[Any]:
        """work(rank) by all processes at once. Raises: what one of them raises."""

        def guarded(rank: int) -> Any:
            try:
                return work(rank)
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as pool:
            futures = [pool.submit(guarded, rank) for rank in range(self.size)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error
        return [future.result() for future in futures]


class Member(Group):
    """One process of a meeting: all of `Group` that a training step uses, but for the transport."""

    def __init__(self, meeting: Meeting, rank: int):
        self.meeting, self.rank, self.size, self.device = meeting, rank, meeting.size, torch.device("cpu")

    def together(self, work: Callable[[], Any]) -> Any:
        return work()  # errors end the test

    def total(self, values: Tensor) -> Tensor:
        return values.copy_(torch.stack(self.meeting.gather(self.rank, values.clone())).sum(0))


class State(NamedTuple):
    """What a step leaves: its losses and the norm of its gradient, the weights of the LoRA, and their averages."""

    row: dict[str, float]
    weights: list[Tensor]
    averages: list[Tensor]


def loops(config: TrainOptions, base: Base, data: NoisySet, processes: int, *, code: ModuleType = loop) -> list[Loop]:
    """The `Loop` of `code`, once for each process of a meeting."""
    meeting = Meeting(processes)
    return [code.Loop(config, base, base, data, Member(meeting, rank), None) for rank in range(processes)]


def steps_of(processes: list[Loop]) -> list[State]:
    """What each step leaves; all processes must end with the same weights."""
    members, meeting = processes, processes[0].group.meeting  # type: ignore[attr-defined]

    def work(rank: int) -> list[State]:
        mine, found = members[rank], []
        for number in range(mine.config.steps):
            row, _ = mine.step(number, stop=False)
            weights = [p.detach().clone() for p in mine.parameters]
            found.append(State(row, weights, [mean.clone() for mean in mine.average]))
        return found

    first, *others = meeting.each(work)
    for other in others:
        assert first[-1].row == other[-1].row
        assert all(torch.equal(a, b) for a, b in zip(first[-1].weights, other[-1].weights, strict=True))
    return first
