"""Turn one image into its row of a noisy set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ambient.randomness import fixed_noise
from harness.errors import UserError
from sdxl.corrupt.options import CorruptOptions
from sdxl.images.crop import fit
from sdxl.images.pictures import Picture
from sdxl.model.base import DTYPES, Base, within_memory
from sdxl.model.text import TextEncoder
from sdxl.model.vae import latent


class Corruptor:
    """Makes the row of a noisy set from an image. Only here is noise added, once; the clean latent is never written."""

    def __init__(self, config: CorruptOptions, base: Base, vae: Base, device: torch.device):
        self.config, self.path = config, base.path()
        self.vae, self.text = vae.vae(DTYPES[config.vae_dtype]).to(device), TextEncoder(base, device)

    def __call__(self, picture: Picture, image: Any) -> dict[str, Tensor]:
        """`noisy_set.ROWS` of one image, each (1, ...). Raises: UserError for a latent that is not finite."""
        seed, key = self.config.seed, picture.key
        pixels, time_ids = fit(image, self.config.resolution, self.config.crop, seed, key)
        with within_memory("take --vae-dtype bfloat16, or a lower --resolution"):
            x_0 = latent(self.vae, pixels[None])  # one image at a time: a batch would change the last bits
        if not bool(x_0.isfinite().all()):
            raise UserError(
                f"the VAE's latent of {key} is not finite: SDXL's overflows in float16; take --vae-dtype float32, or "
                "--vae madebyollin/sdxl-vae-fp16-fix"
            )
        t_n = torch.tensor([picture.t_n], dtype=torch.float64)
        x_n = self.path(t_n).apply(x_0, fixed_noise(seed, key, tuple(x_0.shape)))
        return {"x_n": self._stored(x_n), "t_n": t_n, "time_ids": time_ids[None]} | {
            name: self._stored(value) for name, value in self.text.of_image(picture.caption).items()
        }

    def null(self) -> dict[str, Tensor]:
        """The condition without a caption, in the precision of the set."""
        return {name: self._stored(value) for name, value in self.text.null().items()}

    def _stored(self, value: Tensor) -> Tensor:
        return value.to(DTYPES[self.config.dtype])
