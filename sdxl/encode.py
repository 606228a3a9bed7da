"""What SDXL makes of an image and of a caption: latents by its VAE, embeddings by its two text encoders; and nature's noise."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ambient.randomness import generator, lasting_noise
from ambient.runs import UserError
from sdxl.base import DTYPES, TEXT, TOKENIZERS, Base, within_memory
from sdxl.sources import Picture

if TYPE_CHECKING:
    from sdxl.corrupt import Config

CROPS = ("center", "random")
PARTS = (*TEXT, *TOKENIZERS)  # of an SDXL, that captions pass through


def fit(image: Any, resolution: int, crop: str, seed: int, key: str) -> tuple[Tensor, Tensor]:
    """Pixels (3, R, R) in [-1, 1], the shorter side resized to R and the rest cut off; time_ids (6,): size before, corner, size.

    A random crop is drawn once: it follows from seed and key.
    """
    from PIL import Image

    width, height = image.size
    wide, high = scaled(image.size, resolution)
    share = torch.full((2,), 0.5) if crop == "center" else torch.rand(2, generator=generator(seed, f"crop/{key}"))
    top, left = int(share[0] * (high - resolution)), int(share[1] * (wide - resolution))
    square = image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + resolution, top + resolution))
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 127.5 - 1
    return pixels, torch.tensor([height, width, top, left, resolution, resolution], dtype=torch.float32)


def scaled(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """Width and height once the shorter side is `resolution`."""
    scale = resolution / min(size)
    return max(resolution, round(size[0] * scale)), max(resolution, round(size[1] * scale))


@torch.no_grad()
def latent(vae: Any, pixels: Tensor) -> Tensor:
    """The VAE's mean in the UNet's units, float32 on the CPU: what SDXL's pipelines decode. pixels: (B, 3, R, R) in [-1, 1]."""
    mean = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode().float().cpu()
    shift, spread = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if shift is not None and spread is not None:
        mean = (mean - torch.tensor(shift).view(1, -1, 1, 1)) / torch.tensor(spread).view(1, -1, 1, 1)
    return mean * vae.config.scaling_factor


class TextEncoder:
    """Captions to the UNet's condition, as SDXL's pipelines make it."""

    def __init__(self, base: Base, device: torch.device, dtype: torch.dtype = torch.float32):
        self.base = base
        self.tokenizers, models = base.encoders(dtype)
        self.models = [model.to(device) for model in models]
        self.remembered = lru_cache(maxsize=64)(self._encode)  # many sets have one caption

    def __call__(self, caption: str) -> dict[str, Tensor]:
        """`prompt_embeds` (1, 77, C): both penultimate layers, and `pooled` (1, P) of the second; float32 on the CPU."""
        return self.remembered(caption)

    @torch.no_grad()
    def _encode(self, caption: str) -> dict[str, Tensor]:
        layers, out = [], None
        for tokenizer, model in zip(self.tokenizers, self.models, strict=True):
            tokens = tokenizer(
                caption, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
            )
            out = model(tokens.input_ids.to(model.device), output_hidden_states=True)
            layers.append(out.hidden_states[-2])
        pooled: Any = out
        return {"prompt_embeds": torch.cat(layers, -1).float().cpu(), "pooled": pooled.text_embeds.float().cpu()}

    def null(self) -> dict[str, Tensor]:
        """The condition without a caption: zeros, or the embedding of "" where the model's index says so."""
        empty = self("")
        return {name: torch.zeros_like(value) for name, value in empty.items()} if self.base.zeros_for_no_caption() else empty

    def of_image(self, caption: str) -> dict[str, Tensor]:
        """The condition of an image: one without a caption ("") has none, as when captions are dropped in training."""
        return self(caption) if caption else self.null()

    def cut(self, captions: list[str]) -> list[str]:
        """Those that are longer than the encoders can read."""
        words, most = self.tokenizers[0], self.tokenizers[0].model_max_length
        return [caption for caption in captions if len(words(caption).input_ids) > most]


class Corruptor:
    """A picture to its row of a noisy set: the one place where noise is added, once, to what is never written."""

    def __init__(self, config: Config, base: Base, vae: Base, device: torch.device):
        self.config, self.path = config, base.path()
        self.vae, self.text = vae.vae(DTYPES[config.vae_dtype]).to(device), TextEncoder(base, device)

    def __call__(self, picture: Picture, image: Any) -> dict[str, Tensor]:
        """`noisy_set.ROWS`, of one sample. Raises: UserError for a latent that is not finite."""
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
        x_n = self.path(t_n).apply(x_0, lasting_noise(seed, key, tuple(x_0.shape)))
        return {"x_n": self._stored(x_n), "t_n": t_n, "time_ids": time_ids[None]} | {
            name: self._stored(value) for name, value in self.text.of_image(picture.caption).items()
        }

    def null(self) -> dict[str, Tensor]:
        """The condition without a caption, as it is stored."""
        return {name: self._stored(value) for name, value in self.text.null().items()}

    def _stored(self, value: Tensor) -> Tensor:
        return value.to(DTYPES[self.config.dtype])


def shapes(base: Base, vae: Base, resolution: int) -> dict[str, tuple[int, ...]]:
    """What one image takes in a noisy set, by name, from the models' settings. Raises: UserError for an odd resolution."""
    factor, first, second = vae.pixels(), base.settings("text_encoder"), base.settings("text_encoder_2")
    if resolution % factor:
        raise UserError(f"--resolution must be a multiple of {factor}, the pixels of one latent; got {resolution}")
    side, width = resolution // factor, first.hidden_size + second.hidden_size
    return {
        "x_n": (vae.settings("vae").latent_channels, side, side),
        "prompt_embeds": (first.max_position_embeddings, width),
        "pooled": (second.projection_dim,),
    }
