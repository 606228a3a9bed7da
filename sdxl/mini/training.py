"""The loop of the trainings: AdamW with a warm-up and a decay at the end, and checkpoints from which the same bits follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from harness.errors import Interrupted, UserError
from harness.runs import Run, stop_requests
from sdxl.mini.options import PretrainOptions
from sdxl.mini.stages import Stage

BETAS, WEIGHT_DECAY = (0.9, 0.99), 1e-4  # of AdamW
WARM_UP, DECAY_SHARE = 200, 0.2  # steps in which the learning rate rises, and the share of all steps in which it falls
CLIPPED = 1.0  # the largest norm of a gradient


def learning_rate(step: int, *, steps: int, peak: float) -> float:
    """A linear rise over WARM_UP steps, the peak, and a linear fall to zero at the end."""
    return peak * min(1.0, (step + 1) / WARM_UP, (steps - step) / (DECAY_SHARE * steps))


class Training:
    """Makes the steps of one stage after another. A checkpoint holds the weights of all stages so far."""

    def __init__(self, config: PretrainOptions, run: Run):
        self.config, self.run = config, run
        self.before, self.trained = 0, dict[str, Any]()  # steps and weights of the finished stages
        newest = run.load()
        self.state: dict[str, Any] = newest[1] if newest else {"stage": "", "weights": {}}

    def train(self, stage: Stage) -> None:
        """Make the steps of a stage that are missing. Raises: Interrupted, once all is saved; UserError for an infinite loss."""
        weights = self.state["weights"].get(stage.name)
        if weights is not None:
            stage.weights.load_state_dict(weights)
        if weights is None or self.state["stage"] == stage.name:
            with stop_requests() as stopping:
                self._steps(stage, stopping)
        stage.weights.eval().requires_grad_(False)
        self.before += stage.steps
        self.trained[stage.name] = stage.weights.state_dict()

    def _steps(self, stage: Stage, stopping: Callable[[], bool]) -> None:
        config, done, losses = self.config, 0, list[float]()
        parameters = list(stage.weights.parameters())
        optimiser = torch.optim.AdamW(parameters, lr=stage.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
        if self.state["stage"] == stage.name:
            done, losses = self.state["done"], self.state["losses"]
            optimiser.load_state_dict(self.state["optimiser"])
        stage.weights.train()
        with tqdm(total=stage.steps, initial=done, desc=stage.name, unit="step") as bar:
            while done < stage.steps:
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(done, steps=stage.steps, peak=stage.learning_rate)
                loss = stage(done)
                if not bool(loss.isfinite()):
                    where = f"the loss of the {stage.name} is not finite at step {done + 1:,}"
                    raise UserError(f"{where}; take a lower --{stage.name}-learning-rate and another --out")
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, CLIPPED)
                optimiser.step()
                losses.append(float(loss.detach()))
                done += 1
                bar.update()
                if len(losses) >= config.log_every or done == stage.steps:
                    self.run.log(self.before + done, **{stage.name: sum(losses) / len(losses)})
                    losses = []
                stop = stopping()
                if stop or done % config.save_every == 0 or done == stage.steps:
                    self._save(stage, done, losses, optimiser)
                if stop:
                    raise Interrupted(f"saved at step {done:,} of {stage.steps:,} of the {stage.name}")

    def _save(self, stage: Stage, done: int, losses: list[float], optimiser: torch.optim.Optimizer) -> None:
        weights = {**self.trained, stage.name: stage.weights.state_dict()}
        state = {"stage": stage.name, "done": done, "losses": losses, "weights": weights, "optimiser": optimiser.state_dict()}
        self.run.save(self.before + done, state)
