"""What a pretrained mini model can do: how well its VAE reconstructs pictures, and whether its samples show what prompts name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import statistics
from harness.statistics import Mean
from sdxl.images.sheets import image_of, save, sheet
from sdxl.mini import glyphs, models
from sdxl.mini.classifier import Classifier, labels_of
from sdxl.mini.options import PretrainOptions
from sdxl.model import sampling
from sdxl.model.base import Base
from sdxl.model.text import TextEncoder
from sdxl.model.unet import denoiser, guided

STEPS = 25  # of DDIM
TOGETHER = 64  # samples in a batch
SHOWN = 32  # samples in the picture


@dataclass(frozen=True)
class Measured:
    """Means over held-out pictures. Accuracies are shares; each has the classes of `sdxl.mini.classifier` and "all"."""

    psnr: Mean
    pictures: dict[str, Mean]
    reconstructions: dict[str, Mean]
    samples: dict[str, Mean]

    def table(self) -> list[list[str]]:
        """The accuracies in percent, headings first."""
        rows = {"the pictures": self.pictures, "the VAE's reconstructions": self.reconstructions, "samples": self.samples}
        cells = [
            [what, *(f"{100 * share.mean:.1f} +- {100 * (share.error or 0):.1f}" for share in of.values())]
            for what, of in rows.items()
        ]
        return [["right in %, as the classifier reads", *self.samples], *cells]

    def decibels(self) -> str:
        """The PSNR, in words."""
        return f"PSNR of the VAE's reconstructions: {self.psnr.mean:.2f} +- {self.psnr.error or 0:.2f} dB"


def all_of(base: Base, classifier: Classifier, config: PretrainOptions, file: Path) -> Measured:
    """Measure a model on pictures that no training has seen, with their captions as prompts; some samples are drawn to `file`."""
    numbers = range(config.pictures, config.pictures + config.held_out)
    drawn = [glyphs.glyph(number, seed=config.seed) for number in numbers]
    pixels, labels = models.to_unit(models.pixels(numbers, seed=config.seed)), labels_of(drawn)
    vae = base.vae()
    reconstructed = models.decoded(vae, models.latents(vae, models.pixels(numbers, seed=config.seed)))
    samples = models.decoded(vae, sampled(base, [picture.caption for picture in drawn], config))
    save(sheet([image_of(pixels) for pixels in samples[:SHOWN]]), file)
    error = (reconstructed - pixels).square().mean((1, 2, 3))
    return Measured(
        psnr=statistics.mean((10 * (4 / error).log10()).tolist()),  # pixels span 2, so the peak's square is 4
        pictures=_shares(classifier.right(pixels, labels)),
        reconstructions=_shares(classifier.right(reconstructed, labels)),
        samples=_shares(classifier.right(samples, labels)),
    )


def sampled(base: Base, prompts: list[str], config: PretrainOptions) -> Tensor:
    """Latents of samples, one for each prompt."""
    text, path = TextEncoder(base, torch.device("cpu")), base.path()
    h: Any = guided(denoiser(base.unet(), path, base.prediction()), text.null(), config.guidance)
    side = glyphs.SIZE // base.pixels()
    sizes = torch.tensor([[glyphs.SIZE, glyphs.SIZE, 0, 0, glyphs.SIZE, glyphs.SIZE]], dtype=torch.float32)
    times, blocks = sampling.grid(base.schedule(), STEPS), []
    for first in range(0, len(prompts), TOGETHER):
        conditions = [text(prompt) | {"time_ids": sizes} for prompt in prompts[first : first + TOGETHER]]
        condition = {name: torch.cat([each[name] for each in conditions]) for name in conditions[0]}
        noise = sampling.noise_of(list(range(first, first + len(conditions))), (4, side, side), seed=config.seed)
        blocks.append(sampling.latents(h, noise(0), times, path=path, kernel="ddim", noise=noise, condition=condition))
    return torch.cat(blocks)


def _shares(right: dict[str, Tensor]) -> dict[str, Mean]:
    return {name: statistics.mean(each.double().tolist()) for name, each in right.items()}
