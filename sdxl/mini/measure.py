"""What a pretrained mini model can do: how well its VAE reconstructs pictures, and whether its samples show what prompts name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness import statistics
from harness.files import write_atomically
from harness.statistics import Mean
from harness.tables import with_error
from sdxl.generate.command import main as generate
from sdxl.images.sheets import from_bytes
from sdxl.mini import glyphs, models
from sdxl.mini.classifier import Classifier, labels_of
from sdxl.mini.options import PretrainOptions
from sdxl.model.base import Base


@dataclass(frozen=True)
class Measured:
    """Means over held-out pictures. Accuracies are in percent; each has the names of `sdxl.mini.classifier` and "all"."""

    psnr: Mean
    pictures: dict[str, Mean]
    reconstructions: dict[str, Mean]
    samples: dict[str, Mean]

    def table(self) -> list[list[str]]:
        """The accuracies in percent, headings first."""
        rows = {"the pictures": self.pictures, "the VAE's reconstructions": self.reconstructions, "samples": self.samples}
        cells = [[what, *(with_error(accuracy, ".1f") for accuracy in of.values())] for what, of in rows.items()]
        return [["correct, in %, as the classifier reads", *self.samples], *cells]

    def decibels(self) -> str:
        """The PSNR, in words."""
        return f"PSNR of the VAE's reconstructions: {with_error(self.psnr, '.2f')} dB"


def measure_model(base: Base, classifier: Classifier, config: PretrainOptions, out: Path) -> Measured:
    """Measure a model on pictures that no training has seen.

    out: where `python -m sdxl generate` writes samples with the captions of these pictures.
    """
    numbers, vae = range(config.pictures, config.pictures + config.held_out), base.vae()
    descriptions = [glyphs.described(number, seed=config.seed) for number in numbers]
    drawn, labels = models.pixels(numbers, seed=config.seed), labels_of(descriptions)
    pixels = from_bytes(drawn)
    reconstructed = models.decoded(vae, models.encoded(vae, drawn))
    samples = generated(base, [each.caption for each in descriptions], config, out)
    error = (reconstructed - pixels).square().mean((1, 2, 3))
    return Measured(
        psnr=statistics.mean((10 * (4 / error).log10()).tolist()),  # pixels span 2, so the peak's square is 4
        pictures=_percent(classifier.correct(pixels, labels)),
        reconstructions=_percent(classifier.correct(reconstructed, labels)),
        samples=_percent(classifier.correct(samples, labels)),
    )


def generated(base: Base, prompts: list[str], config: PretrainOptions, out: Path) -> Tensor:
    """The pixels of one sample for each prompt."""
    write_atomically(out.with_name("prompts.txt"), "\n".join(prompts).encode())
    generate([
        "--base", str(base.folder), "--prompts", str(out.with_name("prompts.txt")), "--images", str(len(prompts)),
        "--guidance", str(config.guidance), "--batch", "64", "--seed", str(config.seed), "--out", str(out),
    ])  # fmt: skip
    files = sorted((out / "images").glob("*.png"))
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return from_bytes(torch.from_numpy(pictures).permute(0, 3, 1, 2))


def _percent(correct: dict[str, Tensor]) -> dict[str, Mean]:
    return {name: statistics.mean((100 * each.double()).tolist()) for name, each in correct.items()}
