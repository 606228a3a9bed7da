"""Held-out images, and SDXL with one LoRA after the other that restores them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness import records
from harness.errors import UserError
from harness.files import digest
from sdxl.evaluate.restoration.errors import noise, restored, square_error
from sdxl.evaluate.restoration.options import RestorationOptions
from sdxl.evaluate.tables import labels
from sdxl.images.crop import fit
from sdxl.images.folder import opened
from sdxl.images.pictures import Columns
from sdxl.model import lora
from sdxl.model.base import DTYPES, PARTS, dtype_of, find_with_vae, shapes, within_memory
from sdxl.model.lora import Lora
from sdxl.model.text import TextEncoder
from sdxl.model.unet import denoiser
from sdxl.model.vae import latent, picture
from sdxl.parallel import Group

BASE = "base alone"
WORDS = ("key", "caption")  # of an image, that its errors depend on
NOT_IDENTITY = ("out", "base", "vae", "loras", "dry_run")


@dataclass(frozen=True)
class Errors:
    """Of an image by one model: latent and pixel, at each level; `vae`: of the pixels that went through the VAE alone."""

    latent: tuple[float, ...]
    pixel: tuple[float, ...]
    vae: tuple[float] | None = None
    version: int = 1


class Model(NamedTuple):
    """A LoRA on the base; None: the base alone."""

    name: str
    lora: Lora | None
    t_n: float | None
    weight: float | None


class RestorationPlan:
    """What is restored by what, found and checked. Raises: UserError for what is not there, or does not go together."""

    def __init__(self, config: RestorationOptions, group: Group):
        self.config, self.group = config, group
        wanted = ("unet", "scheduler", *PARTS)
        self.base, self.vae = group.together(lambda: find_with_vae(config.base, config.vae, parts=wanted))
        self.path, self.dtype = self.base.path(), dtype_of(config.dtype, group.device)
        self.levels = sorted(map(float, config.levels), reverse=True)
        self.models = group.together(self._check)
        columns = Columns(config.split, config.image_column, "" if config.null_caption else config.caption_column)
        caption = "" if config.null_caption else config.caption
        options: dict[str, Any] = {"columns": columns, "resolution": config.resolution, "count": config.images}
        self.images = opened(config.data, group, caption=caption, **options)
        group.together(lambda: group.employ(len(self.images), config.data))

    def _check(self) -> list[Model]:
        self.base.fit(shapes(self.base, self.vae, self.config.resolution), "the VAE and the text encoders")
        last = int(self.path.t_max)
        off = [t for t in self.levels if not 1 <= t <= last]
        if off:
            raise UserError(f"--levels must be the schedule's times 1 .. {last}; got {off[0]:g}")
        named = zip(labels(self.config.loras), self.config.loras, strict=True)
        found = [(name, lora.opened(source, self.base)) for name, source in named]
        models = [Model(name, it, it.about and it.about.t_n, it.about and it.about.weight) for name, it in found]
        return models + ([Model(BASE, None, None, None)] if self.config.with_base else [])

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on: images, captions and weights by their content."""
        own = {key: value for key, value in asdict(self.config).items() if key not in NOT_IDENTITY}
        models = self.base.identity("unet", "scheduler", *PARTS) | self.vae.identity("vae")
        words = {f"{name}s": digest(json.dumps([getattr(p, name) for p in self.images.pictures]).encode()) for name in WORDS}
        return own | {
            "levels": self.levels,
            "dtype": str(self.dtype).removeprefix("torch."),
            "images": self.images.about | words,
            "base": models.pop("unet"),
            **models,
            "models": [
                {"name": m.name, "lora": m.lora.digest if m.lora else "", "t_n": m.t_n, "weight": m.weight} for m in self.models
            ],
        }  # fmt: skip

    def file(self, model: int, image: int) -> Path:
        """Where the errors of one image lie until all are known."""
        return Path(self.config.out) / "errors" / f"{model}_{image:06d}.json"


class Restorer:
    """One model, VAE and text encoders on a device: the errors of one image at all levels, which make one batch."""

    def __init__(self, job: RestorationPlan, text: TextEncoder, vae: Any, model: Model):
        self.job, self.text, self.vae, self.model = job, text, vae, model
        self.device = job.group.device
        unet = lora.adapted(job.base, model.lora, job.dtype)
        self.denoiser = denoiser(unet.to(self.device), job.path, job.base.prediction())

    def __call__(self, index: int, *, alone: bool) -> Errors:
        """alone: also of the image that went through the VAE and nothing else, the least error a pixel can have."""
        config, it = self.job.config, self.job.images.pictures[index]
        pixels, time_ids = fit(self.job.images.image(index), config.resolution, "center", 0, "")
        with within_memory("take --dtype bfloat16, fewer --levels, or a lower --resolution"):
            x_0 = latent(self.vae, pixels[None])
            found = self._restored(x_0, it.key, it.caption, time_ids)
            latent_errors = tuple(square_error(found, x_0.expand_as(found)).tolist())
            if not all(map(np.isfinite, latent_errors)):
                raise UserError(f"what {self.model.name} makes of {it.key} is not finite: damaged weights, or a VAE in float16")
            if not config.pixels:
                return Errors(latent_errors, ())
            vae = (self._pixel_error(x_0[0], pixels, it.key),) if alone else None
            return Errors(latent_errors, tuple(self._pixel_error(x, pixels, it.key) for x in found), vae)

    def _restored(self, x_0: Tensor, key: str, caption: str, time_ids: Tensor) -> Tensor:
        job, count = self.job, len(self.job.levels)
        z = noise([key] * count, job.levels, x_0.shape[1:], seed=job.config.seed).to(self.device)
        condition = self.text.of_image(caption) | {"time_ids": time_ids[None]}
        rows = {name: value.expand(count, *value.shape[1:]).to(self.device) for name, value in condition.items()}
        t = torch.tensor(job.levels, dtype=torch.float64, device=self.device)
        return restored(self.denoiser, x_0.to(self.device).expand_as(z), z, path=job.path, t=t, condition=rows).cpu()

    def _pixel_error(self, x_0: Tensor, pixels: Tensor, key: str) -> float:
        """Of pixels in [-1, 1]."""
        shown = torch.from_numpy(np.asarray(picture(self.vae, x_0, key)).copy()).permute(2, 0, 1) / 127.5 - 1
        return float(square_error(shown[None], pixels[None]))


def measure(job: RestorationPlan, stopping: Callable[[], bool]) -> None:
    """Write the errors that are not there yet. A round is one image for each process. Raises: Interrupted if asked to stop."""
    group, count = job.group, len(job.images)
    group.on_main(lambda: (Path(job.config.out) / "errors").mkdir(exist_ok=True))
    todo = group.by_main(lambda: [[i for i in range(count) if known(job, m, i) is None] for m in range(len(job.models))])
    if not any(todo):
        return
    text = group.together(lambda: TextEncoder(job.base, group.device))
    vae = group.together(lambda: job.vae.vae(DTYPES[job.config.vae_dtype]).to(group.device))
    restorer = lru_cache(maxsize=1)(lambda number: Restorer(job, text, vae, job.models[number]))  # one UNet at a time
    rounds = [now for m, images in enumerate(todo) for now in group.split([(m, i) for i in images])]
    group.in_rounds(
        rounds, lambda it: _write(job, *it, restorer(it[0])), stopping=stopping, doing="restoring", unit="restorations are done"
    )


def _write(job: RestorationPlan, model: int, image: int, restorer: Restorer) -> None:
    records.write(job.file(model, image), restorer(image, alone=model == 0))


def known(job: RestorationPlan, model: int, image: int) -> Errors | None:
    """The errors of an image; None where they are not there, or damaged."""
    try:
        found = records.read(job.file(model, image), Errors)
    except UserError:
        return None
    wanted = len(job.levels), len(job.levels) * job.config.pixels, job.config.pixels and model == 0
    return found if (len(found.latent), len(found.pixel), found.vae is not None) == wanted else None
