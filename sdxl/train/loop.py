"""The training loop: steps, checkpoints, and the reasons to stop.

The UNet is frozen and the LoRA is small, so the model needs no wrapper for several processes: after the backward passes their
gradients are added up in one message. All random numbers follow from (seed, running number of the image), so a checkpoint holds
no random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ambient.randomness import generator
from harness import records
from harness.errors import UserError
from harness.runs import Run
from sdxl.corrupt.noisy_set import CONDITION, NoisySet
from sdxl.model import lora
from sdxl.model.base import Base, dtype_of
from sdxl.model.unet import denoiser
from sdxl.parallel import Group
from sdxl.train.journal import Journal, Watch
from sdxl.train.objective import Objective, has_pair, order
from sdxl.train.options import TrainOptions
from sdxl.train.validation import validate


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a training continues. `window`: the losses of the steps since the last line of metrics.jsonl."""

    remedy: ClassVar[str] = "it is of another version of this code; take another folder with --out"
    lora: dict[str, Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    average: list[Tensor]
    watch: list[float]
    window: list[dict[str, float]]


class Loop:
    """A training run, which starts at its newest checkpoint. `run`: the run directory, in the first process alone."""

    def __init__(self, config: TrainOptions, base: Base, vae: Base, data: NoisySet, group: Group, run: Run | None):
        self.config, self.base, self.vae, self.data, self.group, self.run = config, base, vae, data, group, run
        self.objective = Objective.of(config, base.path())
        self.dtype = dtype_of(config.dtype, group.device)
        self.unet = group.together(lambda: base.unet(self.dtype))
        self.parameters = lora.add(self.unet, rank=config.rank, alpha=config.alpha, seed=config.seed, layers=config.layers)
        if config.start_from:
            group.together(lambda: lora.restore(self.unet, lora.opened(str(config.start_from), base).state))
        if config.checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.unet.to(group.device).train()  # checkpointing needs training mode; SDXL has no dropout
        self.denoiser = denoiser(self.unet, base.path(), base.prediction())
        self.null = {name: value.to(group.device) for name, value in data.null().items()}
        options: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.9, 0.999), "weight_decay": config.weight_decay}
        self.optimiser = torch.optim.AdamW(self.parameters, **options)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=self.dtype == torch.float16)
        self.average = [p.detach().clone() for p in self.parameters] if config.ema else []
        self.watch, self.window = Watch(config.collapse), list[dict[str, float]]()
        self.about = lora.About(
            base=base.fingerprint("unet"), schedule=base.schedule_digest(), prediction=base.prediction(), data=data.digest,
            t_n=float(data.levels().max()), rank=config.rank, alpha=config.alpha, weight=config.weight, seed=config.seed, steps=0,
        )  # fmt: skip

    def train(self, stopping: Callable[[], bool]) -> None:
        """Train to the end, or until asked to stop. Raises: Interrupted, once all is saved; UserError if training fails."""
        config, group = self.config, self.group
        done = self.resume()
        if group.by_main(lambda: self.run is not None and self.run.done):
            return group.say(f"{config.out} is finished, after {done:,} steps")
        if done:
            self.validate(done)  # the last run may have been killed between its checkpoint and its images
        begun = time.monotonic()
        with Journal(config, group, self.run, done) as journal:
            while done < config.steps:
                late = 0 < 60 * config.time_limit < time.monotonic() - begun
                row, stop = self.step(done, stop=stopping() or late)
                done += 1
                self.refuse_failure(row, done)
                self.window = journal.write(done, [*self.window, row])
                if done % config.save_every == 0 or done == config.steps or stop:
                    group.on_main(lambda done=done: self.save(done))
                self.validate(done)
                if stop and done < config.steps:
                    group.interrupt(f"saved at step {done:,}")
        if self.run is not None:
            self.run.finish()
        group.say(f"{done:,} steps done; the LoRA is {config.out}/{lora.FILE}")

    def validate(self, done: int) -> None:
        """Make the validation images, if they are due after `done` steps."""
        if not self.config.validate_every or done % self.config.validate_every:
            return
        models = (self.base, self.vae)
        self.group.together(lambda: validate(self.denoiser, self.config, *models, self.data, self.group, done=done))

    def step(self, number: int, *, stop: bool) -> tuple[dict[str, float], bool]:
        """Make one optimiser step; its mean losses over all processes, and whether one of them was asked to stop."""
        config, group = self.config, self.group
        accumulated = config.batch // (config.micro_batch * group.size)
        sums = torch.zeros(4, dtype=torch.float64, device=group.device)  # ambient, consistency, pairs, stop
        for micro in range(accumulated):
            ambient, consistency = self.losses(number, micro, accumulated)
            loss = ambient.mean()
            if len(consistency):
                loss = loss + config.weight * consistency.sum() / (config.fraction * config.micro_batch)
            self.scaler.scale(loss / (accumulated * group.size)).backward()
            sums[0] += ambient.detach().double().sum()
            sums[1] += consistency.detach().double().sum()
            sums[2] += len(consistency)
        sums[3] = float(stop)
        ambient_sum, consistency_sum, pairs, stops = group.total(sums).tolist()
        row = {"ambient": ambient_sum / config.batch, "gradient": self.update(config.learning_rate_at(number))}
        return row | ({"consistency": consistency_sum / pairs} if pairs else {}), stops > 0

    def losses(self, number: int, micro: int, accumulated: int) -> tuple[Tensor, Tensor]:
        """The ambient loss (B,) and the consistency loss (m,) of each image of this process's micro-batch."""
        config, group = self.config, self.group
        size, rank = config.micro_batch, group.rank
        first = number * config.batch + (micro * group.size + rank) * size
        numbers = list(range(first, first + size))
        mine = (number * accumulated + micro) * size  # counted by process: all have pairs in the same micro-batches
        on = config.weight > 0 and number >= config.consistency_from
        with_pair = [on and has_pair(mine + i, config.fraction) for i in range(size)]
        rows = self.data.rows(order(len(self.data), seed=config.seed, numbers=numbers))
        draws = self.objective.draw(rows["t_n"], with_pair, rows["x_n"].shape[1:], seed=config.seed, numbers=numbers)
        draws = draws._replace(noise=draws.noise.to(group.device), pair=draws.pair.to(group.device))
        condition = self.condition({name: rows[name].to(group.device) for name in CONDITION}, numbers)
        with torch.autocast(group.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.objective(self.denoiser, rows["x_n"].to(group.device), rows["t_n"], condition, draws)

    def condition(self, rows: dict[str, Tensor], numbers: list[int]) -> dict[str, Tensor]:
        """The condition of these images; a share `caption_dropout` of them gets the embedding of no caption."""
        share, seed = self.config.caption_dropout, self.config.seed
        for i, number in enumerate(numbers):
            if float(torch.rand((), generator=generator(seed, "captions", number))) < share:
                for name, value in self.null.items():
                    rows[name][i] = value[0].to(rows[name])
        return rows

    def update(self, learning_rate: float) -> float:
        """Add up the gradients of all processes and step; returns the norm of the gradient before clipping."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = self.group.total(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, whole in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(whole.view_as(gradient))
        self.scaler.unscale_(self.optimiser)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_norm or math.inf))
        if math.isfinite(norm) or self.scaler.is_enabled():  # in float16 the scaler skips a step that overflows
            self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        for mean, parameter in zip(self.average, self.parameters, strict=False):
            mean.lerp_(parameter.detach(), 1 - self.config.ema)
        return norm

    def refuse_failure(self, row: dict[str, float], done: int) -> None:
        """Raises: UserError, in all processes, for a loss that is not finite and for a collapse."""
        config = self.config
        finite = [value for key, value in row.items() if key != "gradient" or not self.scaler.is_enabled()]
        if not all(map(math.isfinite, finite)) or (self.scaler.is_enabled() and self.scaler.get_scale() < 1e-3):
            what = ", ".join(f"{key} {value:g}" for key, value in row.items())
            why = f"step {done} is not finite ({what}); {self.last_good()}; try a lower --learning-rate or --dtype bfloat16"
        elif self.watch.collapsed(row["ambient"]):
            why = (
                f"collapse at step {done}: the ambient loss is {self.watch.mean:.3g}, {config.collapse:g} times its least "
                f"({self.watch.least:.3g}); {self.last_good()}; take a lower --weight (the paper: 1e-4 at t_n = 800)"
            )
        else:
            return
        self.group.end_if([why])

    def last_good(self) -> str:
        """The last good checkpoint, for a message."""
        saved = self.run.newest() if self.run is not None else None
        return f"the last good checkpoint is {saved}" if saved else "nothing was saved before"

    def resume(self) -> int:
        """Load the newest checkpoint, if there is one; returns the steps done.

        The LoRA is exported again if the last run was killed between its checkpoint and its export.
        """
        saved = self.group.by_main(lambda: self.run.load() if self.run is not None else None)
        if saved is None:
            return 0
        done, state = saved[0], records.fit(saved[1], Checkpoint, where=f"checkpoint of {self.config.out}")
        lora.restore(self.unet, state.lora)
        self.optimiser.load_state_dict(state.optimiser)
        self.scaler.load_state_dict(state.scaler)
        for mean, value in zip(self.average, state.average, strict=True):
            mean.copy_(value)
        self.watch, self.window = Watch(self.config.collapse, state.watch), state.window
        self.group.on_main(lambda: None if self.exported() == done else self.export(done))
        return done

    def save(self, done: int) -> None:
        """Write a checkpoint, then the LoRA. Called in the first process."""
        assert self.run is not None
        weights, states = lora.weights(self.unet), (self.optimiser.state_dict(), self.scaler.state_dict())
        self.run.save(done, vars(Checkpoint(weights, *states, self.average, self.watch.state(), self.window)))
        self.export(done)

    def exported(self) -> int:
        """The steps after which the LoRA in the run directory was exported; 0 if none there can be read."""
        assert self.run is not None
        with suppress(UserError):
            record = lora.about(lora.find(str(self.run.directory)))
            return record.steps if record else 0
        return 0

    def export(self, done: int) -> None:
        """Write the average of the LoRA, then the LoRA itself, as diffusers pipelines load them."""
        assert self.run is not None
        begun = done > self.config.consistency_from  # whether any step had the consistency loss
        about = replace(self.about, steps=done, weight=self.about.weight if begun else 0.0)
        if self.average:
            with _swapped(self.parameters, self.average):
                lora.save(self.run.directory / "ema", self.unet, lora.weights(self.unet), about)
        lora.save(self.run.directory, self.unet, lora.weights(self.unet), about)


@contextmanager
def _swapped(parameters: list[torch.nn.Parameter], others: list[Tensor]) -> Iterator[None]:
    """Within the block the parameters hold the values of `others`."""
    own = [p.data for p in parameters]
    for p, other in zip(parameters, others, strict=True):
        p.data = other
    try:
        yield
    finally:
        for p, data in zip(parameters, own, strict=True):
            p.data = data
