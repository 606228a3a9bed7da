"""Generate the images of a plan by several processes; each image is written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.wording import several
from sdxl.corrupt.noisy_set import CONDITION
from sdxl.generate.plan import GenerationPlan
from sdxl.images.sheets import save, sheet, thumbnail
from sdxl.images.written import is_whole, write_missing
from sdxl.manifest import write_images_manifest
from sdxl.model import lora, sampling
from sdxl.model.text import TextEncoder
from sdxl.model.unet import denoiser, guided
from sdxl.model.vae import picture
from sdxl.parallel import Group

SHOWN = 64  # images on the contact sheet
ADVICE = "take --batch 1, --dtype bfloat16, or a lower --resolution"  # where memory runs out


class ImageGenerator:
    """UNet with LoRA, VAE and text encoders, on one device."""

    def __init__(self, job: GenerationPlan, device: torch.device):
        self.job, self.device = job, device
        unet, vae = lora.adapted(job.base, job.lora, job.dtype), job.vae.vae()
        self.vae = vae.to(device, torch.float32 if vae.config.force_upcast else job.dtype)
        self.text = None if job.noisy else TextEncoder(job.base, device)
        null = job.noisy.null() if job.noisy else self.text.null()  # type: ignore[union-attr]
        self.null = {name: value.float().to(device) for name, value in null.items()}
        self.denoiser = guided(denoiser(unet.to(device), job.path, job.base.prediction()), self.null, job.scale())
        if self.text is not None:
            job.group.say(*self.text.warnings(job.captions[: job.config.images]))

    def __call__(self, images: list[int]) -> list[Any]:
        """The images of a batch, as PIL has them. All start from the same level."""
        job, config = self.job, self.job.config
        rows = job.noisy.rows([i % len(job.noisy) for i in images]) if job.noisy else None
        noise = sampling.noise_of(images, job.shape, seed=config.seed)
        x_t = noise(0) if rows is None else rows["x_n"]
        x_0 = sampling.latents(
            self.denoiser,
            x_t.to(self.device),
            job.stretch(images[0]),
            path=job.path,
            kernel=config.kernel,
            noise=noise,
            condition=self._condition(images, rows),
        )
        return [picture(self.vae, latent, job.file(i).name) for i, latent in zip(images, x_0, strict=True)]

    def write(self, images: list[int]) -> None:
        """Generate a batch, and write those of its images that are missing."""
        for i, image in zip(images, self(images), strict=True):
            if not is_whole(self.job.file(i)):
                save(image, self.job.file(i))

    def _condition(self, images: list[int], rows: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """The condition of each image: from the noisy set if there is one, else from the captions; the null one if asked for."""
        if rows is None:
            size = self.job.resolution
            sizes = torch.tensor([size, size, 0, 0, size, size], dtype=torch.float32)  # as in stock pipelines
            condition = {"time_ids": sizes.expand(len(images), 6)}
        else:
            condition = {name: rows[name].float() for name in CONDITION}
        if self.job.config.null_caption:
            condition |= {name: value.expand(len(images), *value.shape[1:]) for name, value in self.null.items()}
        elif self.text is not None:
            texts = [self.text(str(self.job.images[i].prompt)) for i in images]
            condition |= {name: torch.cat([text[name] for text in texts]) for name in texts[0]}
        return {name: value.to(self.device) for name, value in condition.items()}


def generate_images(job: GenerationPlan, group: Group, stopping: Callable[[], bool]) -> None:
    """Generate the images that are missing, then write the manifest and the contact sheet. Raises: as `write_missing`."""
    made = write_missing(
        group,
        job.batches,
        lambda batch: [job.file(i) for i in batch],
        lambda: ImageGenerator(job, group.device).write,
        stopping=stopping,
        doing="generating",
        advice=ADVICE,
        weigh=len,
    )
    group.on_main(lambda: _seal(job))
    group.say(f"{several(job.config.images, 'image')}, {made} of them made now -> {job.config.out}")


def _seal(job: GenerationPlan) -> None:
    """Write the manifest and the contact sheet."""
    out = Path(job.config.out)
    write_images_manifest(out, job.config, job.identity(), tuple(job.images), job.lora and job.lora.file)
    save(sheet([thumbnail(out / image.file) for image in job.images[:SHOWN]]), out / "sheet.png")
