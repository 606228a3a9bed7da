"""The training loop of all methods: any loss, a budget of network evaluations, and runs that resume to the same bits."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_optimizer import SOAP
from torch import Tensor, nn

from ambient.denoisers import Preconditioned
from ambient.paths import Times
from ambient.randomness import generator
from harness import records
from harness.errors import Interrupted, UserError
from harness.runs import Run
from toy.networks import MLP
from toy.problem import Noisy, Problem

CHECKPOINT_SECONDS = 5.0
REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class Optimiser:
    """The optimiser of a network; the defaults suit every method here but the paper's."""

    name: str = "soap"
    learning_rate: float = 5e-3
    averaging: float = 0.999  # of the weights, per step

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """SOAP (Vyas et al. 2024) or Adam."""
        if self.name == "soap":
            return SOAP(parameters, lr=self.learning_rate, betas=(0.95, 0.95), weight_decay=0.0, precondition_frequency=10)
        return torch.optim.Adam(parameters, lr=self.learning_rate, betas=(0.9, 0.99))


@dataclass
class Draw:
    """Data and randomness of one step: a function of (seed, step) alone."""

    problem: Problem
    source: torch.Generator
    progress: float  # share of the budget spent, in [0, 1)

    def batch(self, count: int) -> Noisy:
        """Noisy points and their levels, (B, D) and (B,), B = count / batch_divisor."""
        return self.problem.batch(self._divided(count), self.source)

    def clean_batch(self, count: int) -> Tensor:
        """Clean points, for references only, (B, D)."""
        assert self.problem.clean_batch is not None
        return self.problem.clean_batch(self._divided(count), self.source)

    def related_batch(self, count: int) -> Tensor:
        """Clean images of other classes than the data's, (B, D)."""
        assert self.problem.related_batch is not None
        return self.problem.related_batch(self._divided(count), self.source)

    def _divided(self, count: int) -> int:
        """The size of a batch for which a method asks for `count` points: count / batch_divisor, and at least one."""
        return max(1, count // self.problem.batch_divisor)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.source)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.source)


@dataclass(frozen=True)
class Progress:
    """A line of metrics.jsonl."""

    step: int
    loss: float
    evaluations: int


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a training resumes; `losses` are those since the last line of metrics.jsonl, and a few before."""

    remedy: ClassVar[str] = "it is of another version of this code; take another folder with --out"
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    evaluations: int
    losses: list[float]
    seconds: float


class Counted(nn.Module):
    """A denoiser that counts the samples it is evaluated on."""

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self.denoiser, self.evaluations = denoiser, 0

    def forward(self, x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        self.evaluations += len(x_t)
        return self.denoiser(x_t, t, condition)


Loss = Callable[[Counted, Draw], Tensor]
Report = Callable[[str, float, float], None]  # stage, share of its budget that is spent, recent loss


@dataclass
class Trainer:
    """Trains networks for one problem and seed, each in its own run directory below `directory`."""

    problem: Problem
    directory: Path
    config: Any
    seed: int
    budget: float
    report: Report
    stop_requested: Callable[[], bool]
    optimiser: Optimiser = Optimiser()  # of methods without one of their own
    evaluations: int = 0
    earlier: float = 0.0  # CPU seconds that other processes or other methods have spent on the networks
    start: Preconditioned | None = None  # a trained network from which others start; None for a freshly initialised one

    def network(self) -> Preconditioned:
        """A preconditioned network before its training, the same for every method of a seed."""
        problem = self.problem
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = problem.network() if problem.network else MLP(problem.dim)
        mean = problem.data_mean if problem.network else None  # points are left as they are
        denoiser = Preconditioned(network, problem.path, data_std=problem.data_std, mean=mean, skip=problem.skip)
        if self.start is not None:
            denoiser.load_state_dict(self.start.state_dict())
        return denoiser

    def train(self, stage: str, loss: Loss, *, share: float = 1.0, optimiser: Optimiser | None = None) -> Preconditioned:
        """Minimise `loss` until it has spent `share` of the budget; the averaged network. Resumes, or loads a finished training.

        Raises: Interrupted after saving, when asked to stop; UserError if the loss is not finite.
        """
        run = Run(self.directory / stage, self.config, patience=20.0)
        try:
            state = self._loop(run, stage, loss, share * self.budget, optimiser or self.optimiser)
        finally:
            run.close()
        self.evaluations += state.denoiser.evaluations
        return state.average

    def _loop(self, run: Run, stage: str, loss: Loss, budget: float, optimiser: Optimiser) -> _State:
        state = _State(self.network(), optimiser)
        loaded, begun = run.load(), time.process_time()
        rows: list[float] = []
        if loaded:
            saved = records.fit(loaded[1], Checkpoint, where=f"checkpoint of {run.directory}")
            state.load(loaded[0], saved)
            rows, self.earlier, begun = saved.losses, self.earlier + saved.seconds, begun - saved.seconds

        def save() -> None:
            run.save(state.step, vars(Checkpoint(*state.to_save(), rows, time.process_time() - begun)))

        last_save, last_report = time.monotonic(), 0.0
        while state.denoiser.evaluations < budget:
            progress = state.denoiser.evaluations / budget
            draw = Draw(self.problem, generator(self.seed, f"train {stage}", state.step), progress)
            value = state.update(loss(state.denoiser, draw), progress)
            if not math.isfinite(value):
                raise UserError(f"the loss of {stage} is not finite at step {state.step}; see {run.directory / 'metrics.jsonl'}")
            rows.append(value)
            if state.step % 100 == 0:
                run.log(**vars(Progress(state.step, sum(rows) / len(rows), state.denoiser.evaluations)))
                rows = rows[-20:]
            now = time.monotonic()
            if now - last_report > REPORT_SECONDS:
                self.report(stage, progress, sum(rows[-20:]) / len(rows[-20:]))
                last_report = now
            stop = self.stop_requested()
            if stop or now - last_save > CHECKPOINT_SECONDS:
                save()
                last_save = now
            if stop:
                raise Interrupted(f"{stage} is saved at step {state.step}")
        if not run.done:
            save()
            run.finish()
        return state


class _State:
    """What a step changes: weights, their average, the optimiser, the number of steps and of evaluations."""

    def __init__(self, denoiser: Preconditioned, optimiser: Optimiser):
        self.denoiser, self.average, self.step = Counted(denoiser), copy.deepcopy(denoiser).requires_grad_(False).eval(), 0
        self.recipe = optimiser
        self.parameters = list(denoiser.parameters())
        self.optimiser = optimiser.build(self.parameters)

    def update(self, loss: Tensor, progress: float) -> float:
        """One optimiser step with warm-up and cosine decay of the rate to 1 %, then the average."""
        rate = self.recipe.learning_rate * min(1.0, (self.step + 1) / 100) * (0.505 + 0.495 * math.cos(math.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.recipe.averaging, self.step / (self.step + 10))
        with torch.no_grad():
            for averaged, current in zip(self.average.parameters(), self.parameters, strict=True):
                averaged.lerp_(current, 1 - decay)
        return float(loss.detach())

    def to_save(self) -> tuple[Any, Any, Any, int]:
        states = (part.state_dict() for part in (self.denoiser.denoiser, self.average, self.optimiser))
        return *states, self.denoiser.evaluations  # type: ignore[return-value]

    def load(self, step: int, saved: Checkpoint) -> None:
        self.denoiser.denoiser.load_state_dict(saved.weights)
        self.average.load_state_dict(saved.average)
        self.optimiser.load_state_dict(saved.optimiser)
        self.denoiser.evaluations, self.step = saved.evaluations, step
