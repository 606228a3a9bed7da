"""The images of a job: made by several processes, each image written whole or not at all, and what tells of them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdxl.corrupt.noisy_set import CONDITION
from sdxl.generate.plan import GenerationPlan
from sdxl.images.sheets import save, sheet, thumbnail
from sdxl.images.written import refuse_missing, whole
from sdxl.manifest import write_images_manifest
from sdxl.model import lora, sampling
from sdxl.model.base import within_memory
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
        with within_memory(ADVICE):
            unet, vae = lora.adapted(job.base, job.lora, job.dtype), job.vae.vae()
            self.vae = vae.to(device, torch.float32 if vae.config.force_upcast else job.dtype)
            self.text = None if job.noisy else TextEncoder(job.base, device)
            null = job.noisy.null() if job.noisy else self.text.null()  # type: ignore[union-attr]
            self.null = {name: value.float().to(device) for name, value in null.items()}
            self.denoiser = guided(denoiser(unet.to(device), job.path, job.base.prediction()), self.null, job.scale())

    def __call__(self, images: list[int]) -> list[Any]:
        """A picture of each; they start from one level."""
        job, config = self.job, self.job.config
        rows = job.noisy.rows([job.row(i) for i in images]) if job.noisy else None
        noise = sampling.noise_of(images, job.shape, seed=config.seed)
        x_t = noise(0) if rows is None else rows["x_n"]
        with within_memory(ADVICE):
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

    def _condition(self, images: list[int], rows: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Of the set, or of captions; without one, the null condition."""
        if rows is None:
            size = self.job.resolution
            sizes = torch.tensor([size, size, 0, 0, size, size], dtype=torch.float32)  # as stock pipelines have it
            found = {"time_ids": sizes.expand(len(images), 6)}
        else:
            found = {name: rows[name].float() for name in CONDITION}
        if self.job.config.null_caption:
            found |= {name: value.expand(len(images), *value.shape[1:]) for name, value in self.null.items()}
        elif self.text is not None:
            texts = [self.text(str(self.job.caption(i))) for i in images]
            found |= {name: torch.cat([text[name] for text in texts]) for name in texts[0]}
        return {name: value.to(self.device) for name, value in found.items()}


def generate_images(job: GenerationPlan, group: Group, stopping: Callable[[], bool]) -> None:
    """Make the images that are not there yet, and what tells of them all. Raises: as `make`."""
    todo = group.by_main(lambda: unfinished(job))
    if todo:
        make(job, todo, group, stopping)
    group.on_main(lambda: seal(job))
    group.say(f"{job.config.images} images, {sum(map(len, todo))} of them made now -> {job.config.out}")


def make(job: GenerationPlan, todo: list[list[int]], group: Group, stopping: Callable[[], bool]) -> None:
    """Make these batches. A round is one batch for each process, so that no failure waits long.

    Raises: Interrupted, in the first process, if one of them was asked to stop.
    """
    painter = group.together(lambda: ImageGenerator(job, group.device))
    say_cut(painter, job, group)
    group.in_rounds(group.split(todo), lambda batch: write(painter, batch), stopping=stopping, doing="generating", weigh=len)


def say_cut(painter: ImageGenerator, job: GenerationPlan, group: Group) -> None:
    """Warn of captions that the text encoders do not read to their end."""
    cut = painter.text.cut(sorted(set(job.captions[: job.config.images]))) if painter.text else []
    if cut:
        group.say(f"warning: {len(cut)} captions are longer than the text encoders read, and are cut (first: {cut[0][:60]}...)")


def unfinished(job: GenerationPlan) -> list[list[int]]:
    """The batches of which an image is not there, or not whole; away with what a killed process has left."""
    folder = Path(job.config.out) / "images"
    folder.mkdir(exist_ok=True)
    for file in folder.glob(".*"):
        file.unlink()
    return [batch for batch in job.batches if not all(whole(job.file(i)) for i in batch)]


def write(painter: ImageGenerator, images: list[int]) -> None:
    """Make a batch, and write what is not there yet."""
    for i, image in zip(images, painter(images), strict=True):
        if not whole(painter.job.file(i)):
            save(image, painter.job.file(i))


def seal(job: GenerationPlan) -> None:
    """Manifest and contact sheet. Raises: as `refuse_missing`."""
    files = [job.file(i) for i in range(job.config.images)]
    refuse_missing(files, job.config.out)
    images, out = tuple(job.about(i) for i in range(job.config.images)), Path(job.config.out)
    write_images_manifest(out, job.config, job.identity(), images, job.lora and job.lora.file)
    save(sheet([thumbnail(file) for file in files[:SHOWN]]), out / "sheet.png")
