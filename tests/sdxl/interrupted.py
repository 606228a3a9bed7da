"""Run by torchrun in two processes: training twice, once as it comes and once stopped after three steps and gone on with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count

from harness.errors import Interrupted
from harness.runs import Run
from sdxl.model.base import find
from sdxl.parallel import Group
from sdxl.run_command import quiet
from sdxl.train.command import checked, identity_of
from sdxl.train.loop import Loop
from sdxl.train.options import TrainOptions
from tests.sdxl.in_turn import leave


def train(config: TrainOptions, group: Group, stopping: Callable[[], bool] = lambda: False) -> None:
    """As `python -m sdxl train`, but for the signal to stop."""
    base = find(config.base, parts=())
    data = checked(config, base, base, group)
    run = group.on_main(lambda: Run(config.out, identity_of(config, data, base, group.device), keep=config.keep))
    try:
        Loop(config, base, base, data, group, run).train(stopping)
    except (Interrupted, SystemExit):
        pass
    finally:
        if run is not None:
            run.close()


def after(steps: int) -> Callable[[], bool]:
    """Asks to stop in that step."""
    asked = count(1)
    return lambda: next(asked) >= steps


if __name__ == "__main__":
    quiet()
    group, (base, data, out) = Group(), sys.argv[1:]
    options = {"base": base, "data": data, "steps": 7, "batch": 2, "fraction": 1.0, "learning_rate": 1e-3, "tracker": "none"}
    options |= {"log_every": 2, "ema": 0.9, "consistency_from": 2}
    train(TrainOptions(out=f"{out}/whole", **options), group)
    train(TrainOptions(out=f"{out}/parts", **options), group, after(3))
    train(TrainOptions(out=f"{out}/parts", **options), group)
    leave(group)
