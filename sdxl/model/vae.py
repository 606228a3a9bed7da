"""Encoding images and decoding latents with the VAE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.errors import UserError
from sdxl.images.sheets import image_of


@torch.no_grad()
def latent(vae: Any, pixels: Tensor) -> Tensor:
    """The mean latents (B, 4, h, w) of pixels (B, 3, R, R) in [-1, 1]: in the units of the UNet, float32 on the CPU."""
    mean = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float().cpu()
    shift, scale = _shift_and_scale(vae)
    return (mean - shift) / scale * vae.config.scaling_factor


def _shift_and_scale(vae: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of the channels of the VAE's latents, (1, C, 1, 1), if its settings have them; else 0 and 1."""
    mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or std is None:
        return 0.0, 1.0
    return torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1)


@torch.no_grad()
def decode(vae: Any, x_0: Tensor) -> Tensor:
    """The pixels (B, 3, R, R) of latents (B, 4, h, w) in the units of the UNet; about in [-1, 1], float32."""
    shift, scale = _shift_and_scale(vae)
    unscaled = (x_0.cpu() / vae.config.scaling_factor * scale + shift).to(vae.device, vae.dtype)
    return vae.decode(unscaled, return_dict=False)[0].float()


@torch.no_grad()
def picture(vae: Any, x_0: Tensor, name: str) -> Any:
    """The image of one latent (4, h, w), as PIL has it; one at a time, since decoding takes more memory than sampling.

    Raises: UserError, which names the image, if its latent or its pixels are not finite.
    """
    if not bool(x_0.isfinite().all()):
        raise UserError(f"the latent of {name} is not finite: damaged weights, or a LoRA that has diverged")
    pixels = decode(vae, x_0[None])[0]
    if not bool(pixels.isfinite().all()):
        raise UserError(
            f"the VAE's image {name} is not finite: SDXL's overflows in float16; take --dtype float32, or "
            "--vae madebyollin/sdxl-vae-fp16-fix"
        )
    return image_of(pixels)
