"""The noise schedule of a base: read as diffusers' DDPM family means it, and refused where it is anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ambient.paths import Discrete
from harness import records
from harness.errors import UserError
from sdxl.model import settings

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x_0"}  # diffusers' words, and those of `ambient`
NEEDED = "a base of the DDPM kind is needed, as stable-diffusion-xl-base-1.0 is"


def read(file: Path) -> dict[str, Any]:
    """The settings in a scheduler_config.json.

    Raises: UserError if its class has no betas, or other levels than betas give; for another prediction than eps, v and x_0; for
    eps where the last level holds no signal.
    """
    found = settings.read(file)
    name, prediction = found.get("_class_name"), found.get("prediction_type", "epsilon")
    if not {"beta_schedule", "beta_start", "beta_end"} <= found.keys():
        raise UserError(f"{file}: {name} has no beta_schedule, beta_start and beta_end; {NEEDED}")
    if found.get("use_flow_sigmas") or found.get("timestep_type") == "continuous":
        raise UserError(f"{file}: use_flow_sigmas and timestep_type: continuous are not of discrete betas; {NEEDED}")
    if not isinstance(prediction, str) or prediction not in PREDICTIONS:
        raise UserError(f"{file}: prediction_type must be one of {', '.join(PREDICTIONS)}; found {prediction!r}")
    found = records.plain(records.read(file, settings.Schedule))
    if prediction == "epsilon" and path(file, found).alphas_cumprod[-1] == 0:
        raise UserError(
            f"{file}: prediction_type is epsilon, but the schedule ends in pure noise (rescale_betas_zero_snr), where eps says "
            "nothing of an image; set the prediction_type that the UNet was trained for"
        )
    return found


def path(file: Path, found: dict[str, Any]) -> Discrete:
    """The levels of these settings, of this file. Raises: UserError as `read`."""
    import diffusers
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    try:
        kind = getattr(diffusers, str(found.get("_class_name")))
        own: Any = kind.from_config(found)
        alphas_cumprod = DDPMScheduler.from_config(found).alphas_cumprod  # type: ignore[attr-defined]
        if not torch.allclose(own.alphas_cumprod.to(alphas_cumprod), alphas_cumprod, rtol=0, atol=1e-6):
            raise ValueError("its levels are not those that its betas give")
        return Discrete(alphas_cumprod)
    except Exception as error:  # of diffusers and torch: of a dozen kinds
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: the schedule of {found.get('_class_name')} is not understood ({why}); {NEEDED}") from error
