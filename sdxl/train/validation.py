"""Images that are generated during training, one at a time, with less memory than a training step takes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from ambient.denoisers import Denoiser
from sdxl.corrupt.noisy_set import CONDITION, NoisySet
from sdxl.images.sheets import save
from sdxl.model import sampling
from sdxl.model.base import Base
from sdxl.model.vae import picture
from sdxl.parallel import Group
from sdxl.train.options import TrainOptions


def validate(denoiser: Denoiser, config: TrainOptions, base: Base, vae: Base, data: NoisySet, group: Group, *, done: int) -> None:
    """Write validation/step_<done>_<image>.png: samples with the first captions of the set, always from the same noise.

    To take no more memory than training, images are made one at a time, without guidance, and decoded on the CPU.
    """
    times = sampling.grid(base.schedule(), config.validation_steps)
    decoder = _decoder(vae)
    for i in range(group.rank, config.validation_images, group.size):
        file = Path(config.out) / "validation" / f"step_{done:09d}_{i}.png"
        if file.exists():  # from before a stop; it would be the same again
            continue
        rows = data.rows([i % len(data)])
        noise = sampling.noise_of([i], rows["x_n"].shape[1:], seed=config.seed)
        condition = {name: rows[name].to(group.device) for name in CONDITION}
        options: dict[str, Any] = {"path": base.path(), "kernel": "ddim", "noise": noise, "condition": condition}
        with torch.no_grad():
            x_0 = sampling.latents(denoiser, noise(0).to(group.device), times, **options)[0].cpu()
        file.parent.mkdir(exist_ok=True)
        save(picture(decoder, x_0, file.name), file)


@cache
def _decoder(vae: Base) -> Any:
    return vae.vae(torch.float32)
