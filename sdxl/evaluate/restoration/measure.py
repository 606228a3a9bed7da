"""Errors of restoration: held-out images are noised to a level, and restored in one step by SDXL with each LoRA in turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ambient import paths
from ambient.denoisers import Denoiser
from ambient.losses import squared_norm
from harness import records
from harness.errors import UserError
from harness.files import digest
from harness.statistics import mean
from sdxl.evaluate.restoration.options import RestorationOptions
from sdxl.evaluate.restoration.table import SPACES
from sdxl.evaluate.results import Model, Restoration
from sdxl.evaluate.tables import labels, recorded
from sdxl.images.crop import fit
from sdxl.images.folder import opened
from sdxl.images.pictures import Columns
from sdxl.images.sheets import from_bytes
from sdxl.model import lora
from sdxl.model.base import DTYPES, PARTS, dtype_of, find_with_vae, shapes, within_memory
from sdxl.model.lora import Lora
from sdxl.model.sampling import noise_from, require_times
from sdxl.model.text import TextEncoder
from sdxl.model.unet import denoiser
from sdxl.model.vae import latent, picture
from sdxl.parallel import Group

BASE = "base alone"
NOT_IDENTITY = ("out", "base", "vae", "loras", "dry_run")


def noise(keys: list[str], levels: list[float], shape: tuple[int, ...] | torch.Size, *, seed: int) -> Tensor:
    """The noise (B, *shape) of each image at its level. It follows from (seed, key, t), so that all models restore the same."""
    return noise_from([f"restoration at {t:g}/{key}" for key, t in zip(keys, levels, strict=True)], shape, seed=seed)(0)


@torch.no_grad()
def restored(denoise: Denoiser, x_0: Tensor, z: Tensor, *, path: paths.Path, t: Tensor, condition: object = None) -> Tensor:
    """h(alpha_t X_0 + sigma_t Z, t), (B, ...). Paper: Sec. 4.2, Table 1."""
    return denoise(path(t).apply(x_0, z), t, condition)


def square_error(restoration: Tensor, truth: Tensor) -> Tensor:
    """The mean square error over coordinates of each sample: (B,), float64."""
    return squared_norm(restoration.double() - truth.double()) / truth[0].numel()


@dataclass(frozen=True)
class Errors:
    """Latent and pixel errors of a model on one image, by level; `vae`: the pixel error after encoding and decoding alone."""

    latent: tuple[float, ...]
    pixel: tuple[float, ...]
    vae: tuple[float] | None = None
    version: int = 1


class Restorer(NamedTuple):
    """A LoRA on the base, or the base alone (`lora` is None)."""

    model: Model
    lora: Lora | None


class RestorationPlan:
    """Images, levels and models, resolved and checked. Raises: UserError if options or files do not go together."""

    def __init__(self, config: RestorationOptions, group: Group):
        self.config, self.group = config, group
        self.base, self.vae = group.together(lambda: find_with_vae(config.base, config.vae, parts=("unet", "scheduler", *PARTS)))
        self.path, self.dtype = self.base.path(), dtype_of(config.dtype, group.device)
        self.levels = sorted(map(float, config.levels), reverse=True)
        self.restorers = group.together(self._restorers)
        columns = Columns(config.split, config.image_column, "" if config.null_caption else config.caption_column)
        caption, resolution = "" if config.null_caption else config.caption, config.resolution
        self.images = opened(config.data, group, columns=columns, caption=caption, resolution=resolution, count=config.images)
        group.together(lambda: group.employ(len(self.images), config.data))

    def _restorers(self) -> list[Restorer]:
        self.base.fit(shapes(self.base, self.vae, self.config.resolution), "the VAE and the text encoders")
        require_times("--levels", self.levels, self.path.t_max)
        loras = [lora.opened(source, self.base) for source in self.config.loras]
        restorers = [
            Restorer(Model(name, one.about and one.about.t_n, one.about and one.about.weight), one)
            for name, one in zip(labels(self.config.loras), loras, strict=True)
        ]
        return restorers + ([Restorer(Model(BASE, None, None), None)] if self.config.with_base else [])

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on: options, and images, captions and weights by their content."""
        own = self.config.without(*NOT_IDENTITY)
        parts = self.base.identity("unet", "scheduler", *PARTS) | self.vae.identity("vae")
        pictures = self.images.pictures
        texts = {"keys": [picture.key for picture in pictures], "captions": [picture.caption for picture in pictures]}
        return own | {
            "levels": self.levels,
            "dtype": str(self.dtype).removeprefix("torch."),
            "images": self.images.about | {name: digest(json.dumps(text).encode()) for name, text in texts.items()},
            "base": parts.pop("unet"),
            **parts,
            "models": [
                {"name": model.name, "lora": lora.digest if lora else "", "t_n": model.t_n, "weight": model.weight}
                for model, lora in self.restorers
            ],
        }  # fmt: skip

    def file(self, restorer: int, image: int) -> Path:
        """Where the errors on one image are kept until all are known."""
        return Path(self.config.out) / "errors" / f"{restorer}_{image:06d}.json"

    def errors(self, restorer: int, image: int) -> Errors | None:
        """The errors on one image; None if the file is missing or damaged."""
        try:
            errors = records.read(self.file(restorer, image), Errors)
        except UserError:
            return None
        expected = len(self.levels), len(self.levels) * self.config.pixels, self.config.pixels and restorer == 0
        return errors if (len(errors.latent), len(errors.pixel), errors.vae is not None) == expected else None


class RestorationMeter:
    """One model with VAE and text encoders on a device. Measures its errors on an image, all levels in one batch."""

    def __init__(self, plan: RestorationPlan, text: TextEncoder, vae: Any, restorer: Restorer):
        self.plan, self.text, self.vae, self.model = plan, text, vae, restorer.model
        self.device = plan.group.device
        unet = lora.adapted(plan.base, restorer.lora, plan.dtype)
        self.denoiser = denoiser(unet.to(self.device), plan.path, plan.base.prediction())

    def __call__(self, image: int, *, with_vae: bool) -> Errors:
        """The errors on an image; with_vae: also that of the image after encoding and decoding, the least one of its pixels."""
        config, one = self.plan.config, self.plan.images.pictures[image]
        pixels, time_ids = fit(one.open(), config.resolution, "center", 0, "")
        with within_memory("take --dtype bfloat16, fewer --levels, or a lower --resolution"):
            x_0 = latent(self.vae, pixels[None])
            restoration = self._restored(x_0, one.key, one.caption, time_ids)
            latent_errors = tuple(square_error(restoration, x_0.expand_as(restoration)).tolist())
            if not all(map(np.isfinite, latent_errors)):
                raise UserError(f"what {self.model.name} makes of {one.key} is not finite: damaged weights, or a VAE in float16")
            if not config.pixels:
                return Errors(latent_errors, ())
            vae = (self._pixel_error(x_0[0], pixels, one.key),) if with_vae else None
            return Errors(latent_errors, tuple(self._pixel_error(x, pixels, one.key) for x in restoration), vae)

    def _restored(self, x_0: Tensor, key: str, caption: str, time_ids: Tensor) -> Tensor:
        """The restorations (levels, 4, h, w) of a latent (1, 4, h, w)."""
        plan, count = self.plan, len(self.plan.levels)
        z = noise([key] * count, plan.levels, x_0.shape[1:], seed=plan.config.seed).to(self.device)
        condition = self.text.of_image(caption) | {"time_ids": time_ids[None]}
        rows = {name: value.expand(count, *value.shape[1:]).to(self.device) for name, value in condition.items()}
        t = torch.tensor(plan.levels, dtype=torch.float64, device=self.device)
        return restored(self.denoiser, x_0.to(self.device).expand_as(z), z, path=plan.path, t=t, condition=rows).cpu()

    def _pixel_error(self, x_0: Tensor, pixels: Tensor, key: str) -> float:
        """The error of a decoded latent (4, h, w), as it would be written to a file, against pixels (3, R, R) in [-1, 1]."""
        decoded = from_bytes(torch.from_numpy(np.asarray(picture(self.vae, x_0, key)).copy()).permute(2, 0, 1))
        return float(square_error(decoded[None], pixels[None]))


def measure(plan: RestorationPlan, stopping: Callable[[], bool]) -> None:
    """Measure and write the errors that are not known yet, model after model. Raises: Interrupted if asked to stop."""
    group, models, images = plan.group, range(len(plan.restorers)), range(len(plan.images))
    group.on_main(lambda: (Path(plan.config.out) / "errors").mkdir(exist_ok=True))
    todo = group.by_main(lambda: [[(m, i) for i in images if plan.errors(m, i) is None] for m in models])
    if not any(todo):
        return
    text = group.together(lambda: TextEncoder(plan.base, group.device))
    vae = group.together(lambda: plan.vae.vae(DTYPES[plan.config.vae_dtype]).to(group.device))
    meter = lru_cache(maxsize=1)(lambda m: RestorationMeter(plan, text, vae, plan.restorers[m]))  # one UNet in memory at a time
    rounds = [items for of_model in todo for items in group.split(of_model)]

    def write(item: tuple[int, int]) -> None:
        number, image = item
        records.write(plan.file(number, image), meter(number)(image, with_vae=number == 0))

    group.in_rounds(rounds, write, stopping=stopping, doing="restoring", unit="restorations are done")


def results_of(plan: RestorationPlan, identity: dict[str, Any]) -> Restoration:
    """Every error by space, model, level and image. Raises: UserError if the errors of another process are not here."""
    by_space: dict[str, dict[str, Any]] = {space: {} for space in SPACES}
    vae: list[float] = []
    for number, restorer in enumerate(plan.restorers):
        errors = [plan.errors(number, i) for i in range(len(plan.images))]
        if None in errors:
            raise UserError(f"{plan.file(number, errors.index(None))} is not here: do all processes see {plan.config.out}?")
        for space in SPACES if plan.config.pixels else SPACES[:1]:
            by_space[space][restorer.model.name] = tuple(zip(*(getattr(of, space) for of in errors), strict=True))
        vae += [value for of in errors if of for value in of.vae or ()]
    return Restoration(
        config=recorded(plan.config), identity=identity, levels=tuple(plan.levels), errors=by_space,
        models=tuple(restorer.model for restorer in plan.restorers), images=tuple(p.key for p in plan.images.pictures),
        vae_alone=mean(vae)._asdict() if vae else None,
    )  # fmt: skip
