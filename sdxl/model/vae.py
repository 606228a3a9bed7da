"""Between images and latents: the VAE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.errors import UserError
from sdxl.images.sheets import to_bytes


@torch.no_grad()
def latent(vae: Any, pixels: Tensor) -> Tensor:
    """The VAE's mean in the UNet's units, float32 on the CPU: what SDXL's pipelines decode. pixels: (B, 3, R, R) in [-1, 1]."""
    mean = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float().cpu()
    shift, spread = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if shift is not None and spread is not None:
        mean = (mean - torch.tensor(shift).view(1, -1, 1, 1)) / torch.tensor(spread).view(1, -1, 1, 1)
    return mean * vae.config.scaling_factor


@torch.no_grad()
def picture(vae: Any, x_0: Tensor, name: str) -> Any:
    """The PIL image of one latent (4, h, w): one at a time, since decoding takes more memory than sampling.

    Raises: UserError, which names the image, if it is not finite.
    """
    from PIL import Image

    if not bool(x_0.isfinite().all()):
        raise UserError(f"the latent of {name} is not finite: damaged weights, or a LoRA that has diverged")
    scaled = x_0[None].to(vae.device) / vae.config.scaling_factor
    shift, spread = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if shift is not None and spread is not None:
        scaled = scaled * torch.tensor(spread).to(scaled).view(1, -1, 1, 1) + torch.tensor(shift).to(scaled).view(1, -1, 1, 1)
    pixels = vae.decode(scaled.to(vae.dtype), return_dict=False)[0][0].float()
    if not bool(pixels.isfinite().all()):
        raise UserError(
            f"the VAE's image {name} is not finite: SDXL's overflows in float16; take --dtype float32, or "
            "--vae madebyollin/sdxl-vae-fp16-fix"
        )
    return Image.fromarray(to_bytes(pixels).permute(1, 2, 0).cpu().numpy())
