"""The reports of a training run: progress bar, metrics.jsonl, a tracker; and the check for a collapse."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import asdict
from typing import Any

import torch
from tqdm import tqdm

from harness.errors import UserError
from harness.runs import Run
from harness.wording import one_line
from sdxl.parallel import Group
from sdxl.train.options import TrainOptions

PATIENCE = 100  # steps: the length of the running mean, and the first step at which a collapse can be found


class Watch:
    """Finds a collapse: h no longer depends on x_t, which the consistency loss does not notice, and the ambient loss climbs.

    The running mean of the ambient loss over about PATIENCE steps is compared with the least value it has had. `times`: the
    ratio of the two from which on a collapse is reported; 0: never.
    """

    def __init__(self, times: float, state: list[float] | None = None):
        self.times = times
        self.steps, self.mean, self.least = state or (0.0, 0.0, math.inf)

    def collapsed(self, loss: float) -> bool:
        """Add the ambient loss of a step; whether training has collapsed."""
        self.steps += 1
        self.mean += (loss - self.mean) / min(self.steps, PATIENCE)
        if self.steps < PATIENCE:
            return False
        self.least = min(self.least, self.mean)
        return 0 < self.times < self.mean / self.least

    def state(self) -> list[float]:
        """What a checkpoint keeps of it."""
        return [self.steps, self.mean, self.least]


class Journal:
    """Writes the progress bar, metrics.jsonl and the tracker, in the first process alone."""

    def __init__(self, config: TrainOptions, group: Group, run: Run | None, done: int):
        self.config, self.group, self.run, self.first = config, group, run, done
        self.begun = time.monotonic()
        self.tracker = group.together(self._tracker)
        self.bar = tqdm(total=config.steps, initial=done, desc="training", unit="step", disable=None if group.main else True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.tracker is not None:
            self.tracker.finish()

    def _tracker(self) -> Any:
        """The tracker of accelerate that --tracker names, in the first process. Raises: UserError if it does not start."""
        name = self.config.tracker
        if name == "none" or not self.group.main:
            return None
        from accelerate import tracking

        if name not in [str(known) for known in tracking.get_available_trackers()]:
            raise UserError(f"tracker {name}: it is not installed; install it, or take --tracker none")
        kind = tracking.LOGGER_TYPE_TO_CLASS[name]
        tracker = kind("exact-ambient", *([self.config.out] if kind.requires_logging_directory else []))
        plain = (int, float, str)  # the types that trackers take
        try:
            tracker.start()
            tracker.store_init_configuration({k: v if isinstance(v, plain) else str(v) for k, v in asdict(self.config).items()})
        except OSError:  # a fault of the disk, not of the tracker
            raise
        except Exception as error:  # trackers raise exceptions of their own
            why = f"{one_line(error)} ({type(error).__name__})"
            raise UserError(f"tracker {name}: {why}; mend it, or take --tracker none") from error
        return tracker

    def write(self, done: int, window: list[dict[str, float]]) -> list[dict[str, float]]:
        """Report the means over `window`, the steps since the last report, if a report is due; the window of the next report."""
        self.bar.update()
        if done % self.config.log_every and done != self.config.steps:
            return window
        row = {}
        for key in ("ambient", "consistency", "gradient"):
            values = [losses[key] for losses in window if key in losses]
            row |= {key: sum(values) / len(values)} if values else {}
        speed = (done - self.first) * self.config.batch / (time.monotonic() - self.begun)
        row |= {"images_per_second": round(speed, 3), "memory": memory(self.group.device)}
        self.bar.set_postfix({key: f"{value:.4g}" for key, value in row.items() if key != "gradient"})
        if self.run is not None:
            self.run.log(done, **row)
        if self.tracker is not None:
            self.tracker.log(row, step=done)
        return []


def memory(device: torch.device) -> float:
    """The peak of the memory used so far, in GB: of the GPU, or on a CPU of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
