"""The noise schedule of a base, as the schedulers of diffusers' DDPM family define it; any other schedule is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ambient.paths import Discrete
from harness import records
from harness.errors import UserError
from harness.wording import one_line
from sdxl.model import settings

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x_0"}  # the names of diffusers, and those of `ambient`
NEEDED = "a base of the DDPM kind is needed, as stable-diffusion-xl-base-1.0 is"


def read(file: Path) -> dict[str, Any]:
    """The settings in a scheduler_config.json.

    Raises: UserError if the levels do not follow from betas, if the UNet predicts anything but eps, v or x_0, or if it predicts
    eps and the last level is pure noise.
    """
    scheduler = settings.read(file)
    name, prediction = scheduler.get("_class_name"), scheduler.get("prediction_type", "epsilon")
    if not {"beta_schedule", "beta_start", "beta_end"} <= scheduler.keys():
        raise UserError(f"{file}: {name} has no beta_schedule, beta_start and beta_end; {NEEDED}")
    if scheduler.get("use_flow_sigmas") or scheduler.get("timestep_type") == "continuous":
        raise UserError(f"{file}: use_flow_sigmas and timestep_type: continuous are not of discrete betas; {NEEDED}")
    if not isinstance(prediction, str) or prediction not in PREDICTIONS:
        raise UserError(f"{file}: prediction_type must be one of {', '.join(PREDICTIONS)}; found {prediction!r}")
    scheduler = records.plain(records.read(file, settings.Schedule))
    if prediction == "epsilon" and path(file, scheduler).alphas_cumprod[-1] == 0:
        raise UserError(
            f"{file}: prediction_type is epsilon, but the schedule ends in pure noise (rescale_betas_zero_snr), where eps says "
            "nothing of an image; set the prediction_type that the UNet was trained for"
        )
    return scheduler


def path(file: Path, scheduler: dict[str, Any]) -> Discrete:
    """The levels that the settings in `file` define. Raises: UserError, which names the file, if they are not understood."""
    import diffusers
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    try:
        kind = getattr(diffusers, str(scheduler.get("_class_name")))
        own: Any = kind.from_config(scheduler)
        alphas_cumprod = DDPMScheduler.from_config(scheduler).alphas_cumprod  # type: ignore[attr-defined]
        if not torch.allclose(own.alphas_cumprod.to(alphas_cumprod), alphas_cumprod, rtol=0, atol=1e-6):
            raise ValueError("its levels are not those that its betas give")
        return Discrete(alphas_cumprod)
    except Exception as error:  # diffusers and torch raise a dozen kinds
        name = scheduler.get("_class_name")
        raise UserError(f"{file}: the schedule of {name} is not understood ({one_line(error)}); {NEEDED}") from error
