"""What a training run says: progress, metrics.jsonl, a tracker, and whether it goes wrong."""

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
from sdxl.parallel import Group
from sdxl.train.options import TrainOptions

PATIENCE = 100  # steps before a collapse is looked for


class Watch:
    """Tells a collapse: h no longer follows x_t, so that the ambient loss, which consistency does not see, climbs.

    It compares the loss's running mean over about 100 steps with the least that mean has been.
    """

    def __init__(self, times: float, state: list[float] | None = None):
        self.times = times
        self.seen, self.mean, self.least = state or (0.0, 0.0, math.inf)

    def collapsed(self, loss: float) -> bool:
        """Take note of a step's ambient loss."""
        self.seen += 1
        self.mean += (loss - self.mean) / min(self.seen, PATIENCE)
        if self.seen < PATIENCE:
            return False
        self.least = min(self.least, self.mean)
        return 0 < self.times < self.mean / self.least

    def state(self) -> list[float]:
        """For the checkpoint."""
        return [self.seen, self.mean, self.least]


class Journal:
    """Progress bar, lines of metrics.jsonl, and the tracker; silent but in the first process."""

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
        """accelerate's tracker of that name, in the first process. Raises: UserError if it cannot be had."""
        name = self.config.tracker
        if name == "none" or not self.group.main:
            return None
        from accelerate import tracking

        if name not in [str(known) for known in tracking.get_available_trackers()]:
            raise UserError(f"tracker {name}: it is not installed; install it, or take --tracker none")
        kind = tracking.LOGGER_TYPE_TO_CLASS[name]
        found = kind("exact-ambient", *([self.config.out] if kind.requires_logging_directory else []))
        plain = (int, float, str)  # all that trackers take
        try:
            found.start()
            found.store_init_configuration({k: v if isinstance(v, plain) else str(v) for k, v in asdict(self.config).items()})
        except OSError:  # of the disk
            raise
        except Exception as error:  # of the tracker: of its own kinds
            why = " ".join(str(error).split())[:200]
            raise UserError(f"tracker {name}: {why} ({type(error).__name__}); mend it, or take --tracker none") from error
        return found

    def write(self, done: int, window: list[dict[str, float]]) -> list[dict[str, float]]:
        """Note the means of the steps since the last line, if one is due; what is left for the next line."""
        self.bar.update()
        if done % self.config.log_every and done != self.config.steps:
            return window
        means = {key: _mean([row[key] for row in window if key in row]) for key in ("ambient", "consistency", "gradient")}
        row = {key: value for key, value in means.items() if value is not None}
        speed = (done - self.first) * self.config.batch / (time.monotonic() - self.begun)
        row |= {"images_per_second": round(speed, 3), "memory": memory(self.group.device)}
        self.bar.set_postfix({key: f"{value:.4g}" for key, value in row.items() if key != "gradient"})
        if self.run is not None:
            self.run.log(done, **row)
        if self.tracker is not None:
            self.tracker.log(row, step=done)
        return []


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def memory(device: torch.device) -> float:
    """GB at the most so far: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
