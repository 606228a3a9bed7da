"""What the noise attack does: images in turn, each by one process, each result written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ambient.runs import UserError, digest, write_atomically
from sdxl import encode, lora, sampling, survey
from sdxl.attack.restore import Attacked, attack
from sdxl.attack.strips import strip
from sdxl.base import denoiser, dtype_of, find_with_vae
from sdxl.decode import picture, save, sheet
from sdxl.group import Group
from sdxl.painter import refuse_missing, whole
from sdxl.sources import Columns, pictures

if TYPE_CHECKING:
    from sdxl.attack.noise import Config

NOT_IDENTITY = ("out", "dry_run")
STRIPS = 8  # images shown
ONE_STEP = "one_step"


class Plan:
    """The attack, found and checked before anything large is loaded. Raises: UserError for what does not go together."""

    def __init__(self, config: Config, group: Group):
        self.config, self.group = config, group
        columns = Columns(split=config.split, caption=config.caption_column if config.captions else "")
        caption = None if config.captions else ""
        self.pictures = pictures(config.data, columns, caption=caption, t_n=0, count=config.images)
        if len(self.pictures) < group.size:
            raise UserError(f"{len(self.pictures)} images are fewer than there are processes ({group.size}); start fewer")
        self.base, self.vae = find_with_vae(config.base, config.vae, parts=("unet", "scheduler", *encode.PARTS))
        self.prints = {part: self.base.fingerprint(part) for part in ("unet", *encode.PARTS)}
        self.prints["vae"] = self.vae.fingerprint("vae")
        self.lora = lora.find(config.lora) if config.lora else None
        if self.lora is not None:
            lora.check(self.lora, base=self.prints["unet"])
            self.prints["lora content"] = digest(self.lora.read_bytes())
        self.dtype, self.path = dtype_of(config.dtype, group.device), self.base.path()
        self.times = sampling.grid(self.base.schedule(), config.steps)
        last = int(self.path.t_max)
        off = [t for t in config.t if not 1 <= t <= last]
        if off:
            raise UserError(f"--t must name times of the schedule, 1 .. {last}; got {off[0]}")
        self.resolution = config.resolution or self.vae.pixels() * self.base.settings("unet")["sample_size"]
        encode.shapes(self.base, self.vae, self.resolution)

    def take(self, seen: list[survey.Seen]) -> None:
        """Note what the images are. Raises: UserError for those that cannot be read."""
        survey.usable(self.pictures, seen, smallest=1, skip=False)
        rows = [f"{p.key}\t{p.caption}\t{s.digest}" for p, s in zip(self.pictures, seen, strict=True)]
        self.prints["images"] = digest("\n".join(rows).encode())

    def kinds(self) -> list[str]:
        return [ONE_STEP, *(f"sample_{j}" for j in range(self.config.samples))]

    def file(self, t: int, kind: str, image: int) -> Path:
        return Path(self.config.out) / "images" / f"t{t}_{kind}_{image:06d}.png"

    def files(self, image: int) -> list[Path]:
        """All that is written of an image."""
        found = [self.file(t, kind, image) for t in self.config.t for kind in self.kinds()]
        return found + ([self.strip(image)] if image < STRIPS else [])

    def strip(self, image: int) -> Path:
        return Path(self.config.out) / "strips" / f"{image:06d}.png"

    def identity(self) -> dict[str, Any]:
        """What the results depend on: models and images by their content."""
        own = {key: value for key, value in asdict(self.config).items() if key not in NOT_IDENTITY}
        found = {"resolution": self.resolution, "dtype": str(self.dtype).removeprefix("torch.")}
        return own | found | {f"print of {part}": value for part, value in self.prints.items()}

    def lines(self) -> list[str]:
        """What --dry-run prints."""
        config = self.config
        steps = sum(1 + config.samples * (len(sampling.stretch(self.times, start=t)) - 1) for t in config.t)
        return [
            *(f"{key}: {value}" for key, value in (asdict(config) | self.identity()).items()),
            f"{len(self.pictures)} images, {len(self.pictures) * len(config.t) * len(self.kinds())} results, "
            f"{steps} evaluations of the UNet for each image",
            f"processes: {self.group.size} on {self.group.device.type}",
        ]


class Attacker:
    """UNet with LoRA, VAE and text encoders, on one device."""

    def __init__(self, plan: Plan, device: torch.device):
        self.plan, self.device = plan, device
        unet, vae = plan.base.unet(plan.dtype), plan.vae.vae()
        if plan.lora is not None:
            lora.load(unet, plan.lora, base=plan.prints["unet"])
        self.vae, self.text = vae.to(device), encode.TextEncoder(plan.base, device)
        self.denoiser = denoiser(unet.to(device), plan.path, plan.base.prediction())

    def __call__(self, image: int) -> None:
        """Attack one image, and write all of it."""
        plan, config = self.plan, self.plan.config
        key, square, time_ids = plan.pictures[image].key, *self.read(image)
        text = self.text(plan.pictures[image].caption) if config.captions else self.text.null()
        condition = {name: value.to(self.device) for name, value in (text | {"time_ids": time_ids[None]}).items()}
        x_0, rows = encode.latent(self.vae, square[None]).to(self.device), []
        for t in config.t:
            options: dict[str, Any] = {"path": plan.path, "times": plan.times, "kernel": config.kernel, "seed": config.seed}
            found = attack(self.denoiser, x_0, [key], t, samples=config.samples, condition=condition, **options)
            rows.append(self.write(found, t, image))
        if image < STRIPS:
            save(strip(square, x_0[0], rows), plan.strip(image))

    def write(self, found: Attacked, t: int, image: int) -> tuple[Tensor, list[Any]]:
        """The noisy latent, and the pictures as they were written."""
        shown = []
        for kind, latent in zip(self.plan.kinds(), [found.one_step[0], *found.samples[:, 0]], strict=True):
            file = self.plan.file(t, kind, image)
            shown.append(picture(self.vae, latent, file.name))
            save(shown[-1], file)
        return found.x_t[0], shown

    def read(self, image: int) -> tuple[Tensor, Tensor]:
        """Pixels and time_ids."""
        one = self.plan.pictures[image]
        return encode.fit(survey.decode(one.read()), self.plan.resolution, "center", 0, one.key)


def carry_out(plan: Plan, group: Group, stopping: Callable[[], bool]) -> None:
    """Attack the images that are not done, and tell of them all.

    Raises: Interrupted, in the first process, if one of them was asked to stop.
    """
    todo = group.by_main(lambda: _unfinished(plan))
    if todo:
        attacker = group.together(lambda: Attacker(plan, group.device))
        group.in_rounds(group.split(todo), attacker, stopping=stopping, doing="attacking")
    group.on_main(lambda: _seal(plan))
    group.say(f"{len(plan.pictures)} images attacked, {len(todo)} of them now -> {plan.config.out}")


def _unfinished(plan: Plan) -> list[int]:
    """The images of which something is not there, or not whole."""
    for file in plan.files(0):
        file.parent.mkdir(parents=True, exist_ok=True)
        for left in file.parent.glob(".*"):
            left.unlink()
    return [i for i in range(len(plan.pictures)) if not all(map(whole, plan.files(i)))]


def _seal(plan: Plan) -> None:
    """Manifest and contact sheet. Raises: as `refuse_missing`."""
    refuse_missing([file for i in range(len(plan.pictures)) for file in plan.files(i)], plan.config.out)
    out = Path(plan.config.out)
    images = [
        {
            "file": str(plan.file(t, kind, i).relative_to(out)),
            "index": i,
            "key": one.key,
            "prompt": one.caption,
            "t": t,
            "kind": kind,
        }
        for i, one in enumerate(plan.pictures)
        for t in plan.config.t
        for kind in plan.kinds()
    ]
    manifest = {"config": asdict(plan.config), "identity": plan.identity(), "images": images}
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    save(sheet([plan.file(plan.config.t[0], plan.kinds()[-1], i) for i in range(min(64, len(plan.pictures)))]), out / "sheet.png")
