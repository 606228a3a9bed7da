"""What both attacks share: each image is attacked by one process, and each result is written whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.files import digest
from harness.wording import several
from sdxl.images import crop
from sdxl.images.pictures import Columns, pictures
from sdxl.images.sheets import save, sheet, thumbnail
from sdxl.images.survey import SurveyedPicture, refuse_unreadable, survey
from sdxl.images.written import write_missing
from sdxl.manifest import Attacked, write_images_manifest
from sdxl.model import base, lora, sampling
from sdxl.model.base import dtype_of, find_with_vae
from sdxl.model.text import TextEncoder
from sdxl.parallel import Group

NOT_IDENTITY = ("out", "dry_run")
MEMORY_ADVICE = "take --dtype bfloat16, or a lower --resolution"
STRIPS, ON_SHEET = 8, 64  # images with a picture in strips/, and on sheet.png


class AttackPlan(ABC):
    """An attack, resolved and checked before a model is loaded. Raises: UserError if options or files do not go together."""

    record: type[Attacked]  # the entry of a result in the manifest
    pictures: list[SurveyedPicture]  # the images to attack, which `prepare` sets
    on_sheet = 0  # which of the results of each image sheet.png shows

    def __init__(self, config: Any, group: Group):
        self.config: Any = config
        self.group = group
        self.manifest_fields: dict[str, Any] = {}  # those that only this attack has
        columns = Columns(config.split, caption=config.caption_column if config.captions else "", advice="leave --captions out")
        caption = None if config.captions else ""
        self.listed = pictures(config.data, columns, caption=caption, t_n=0, count=config.images, say=group.say)
        group.employ(len(self.listed), config.data)
        self.base, self.vae = find_with_vae(config.base, config.vae, parts=("unet", "scheduler", *base.PARTS))
        self.lora = lora.opened(config.lora, self.base) if config.lora else None
        self.fingerprints = self.base.identity("unet", "scheduler", *base.PARTS) | self.vae.identity("vae")
        self.fingerprints |= {"lora content": self.lora.digest} if self.lora else {}
        self.dtype, self.path = dtype_of(config.dtype, group.device), self.base.path()
        self.times = sampling.grid(self.base.schedule(), config.steps)
        self.resolution: int = config.resolution or self.base.resolution(self.vae.pixels())
        sizes = base.shapes(self.base, self.vae, self.resolution)
        self.base.fit(sizes, "the VAE and the text encoders", inpainting=getattr(config, "fill", "") == "inpainting")

    def prepare(self) -> None:
        """Read every image, each process its share. Raises: UserError for images that cannot be read."""
        self.pictures = survey(self.listed, self.group, 8)
        self.group.together(lambda: refuse_unreadable(self.pictures, self.config.data))
        small = sum(min(p.reading.size) < self.resolution for p in self.pictures)
        if small:
            counted = f"{small} of {len(self.pictures)} images are smaller than {self.resolution} pixels"
            self.group.say(f"warning: {counted}, and enlarged")
        rows = [f"{p.key}\t{p.caption}\t{p.reading.digest}" for p in self.pictures]
        self.fingerprints["images"] = digest("\n".join(rows).encode())

    @abstractmethod
    def results(self, image: int) -> list[tuple[Path, dict[str, Any]]]:
        """The files with the results for an image, each with the fields of `record` that are its own."""

    @abstractmethod
    def evaluations(self) -> int:
        """How often the UNet is evaluated for each image."""

    def further_files(self, image: int) -> list[Path]:
        """The pictures of an image that the manifest does not list."""
        return [self.strip_file(image)] if image < STRIPS else []

    def begin(self) -> None:  # noqa: B027 - most attacks need nothing
        """Write what a later run of the same command needs before there are results."""

    def files(self, image: int) -> list[Path]:
        """All files that are written for an image."""
        return [file for file, _ in self.results(image)] + self.further_files(image)

    def strip_file(self, image: int) -> Path:
        """The picture that shows an image beside what was made of it."""
        return Path(self.config.out) / "strips" / f"{image:06d}.png"

    def identity(self) -> dict[str, Any]:
        """What the results depend on: options, and models and images by their content."""
        own = self.config.without(*NOT_IDENTITY)
        resolved = {"resolution": self.resolution, "dtype": str(self.dtype).removeprefix("torch.")}
        return own | resolved | {f"print of {part}": value for part, value in self.fingerprints.items()}

    def lines(self) -> list[str]:
        """What --dry-run prints."""
        count = len(self.pictures)
        work = f"{count * len(self.results(0))} results, {self.evaluations()} evaluations of the UNet for each image"
        return [
            *(f"{key}: {value}" for key, value in (asdict(self.config) | self.identity()).items()),
            f"{count} images, {work}",
            f"processes: {self.group.size} on {self.group.device.type}",
        ]


class Attacker(ABC):
    """The models of an attack on one device: UNet with LoRA, VAE, text encoders."""

    def __init__(self, plan: AttackPlan):
        self.plan: Any = plan
        self.device = plan.group.device
        self.unet = lora.adapted(plan.base, plan.lora, plan.dtype).to(self.device)
        self.vae = plan.vae.vae().to(self.device)
        self.text = TextEncoder(plan.base, self.device)

    @abstractmethod
    def __call__(self, image: int) -> None:
        """Attack one image, and write all its files."""

    def read(self, image: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The pixels (3, R, R) of an image in [-1, 1], and the condition of a batch of one."""
        picture = self.plan.pictures[image]
        square, time_ids = crop.fit(picture.open(), self.plan.resolution, "center", 0, picture.key)
        text = self.text.of_image(picture.caption if self.plan.config.captions else "")
        return square, {name: value.to(self.device) for name, value in (text | {"time_ids": time_ids[None]}).items()}


def run_attack(plan: AttackPlan, attacker_class: Any) -> None:
    """Attack the images that lack results and write the manifest, or print the plan. Raises: UserError; Interrupted."""
    group, out = plan.group, plan.config.out
    plan.prepare()
    if plan.config.dry_run:
        return group.say(*plan.lines())
    with group.results(out, plan.identity()) as stopping:
        group.on_main(plan.begin)
        options: Any = {"stopping": stopping, "doing": "attacking", "advice": MEMORY_ADVICE}
        attacked = write_missing(group, range(len(plan.pictures)), plan.files, lambda: attacker_class(plan), **options)
        group.on_main(lambda: _write_manifest(plan))
        group.say(f"{several(len(plan.pictures), 'image')} attacked, {attacked} now -> {out}")


def _write_manifest(plan: AttackPlan) -> None:
    """Write manifest.json and sheet.png."""
    numbers, out = range(len(plan.pictures)), Path(plan.config.out)
    entries = tuple(
        plan.record(file.relative_to(out).as_posix(), i, picture.caption, picture.key, picture.reading.digest, **fields)
        for i, picture in enumerate(plan.pictures)
        for file, fields in plan.results(i)
    )
    write_images_manifest(out, plan.config, plan.identity(), entries, None, **plan.manifest_fields)
    shown = [plan.results(i)[plan.on_sheet][0] for i in numbers[:ON_SHEET]]
    save(sheet([thumbnail(file) for file in shown]), out / "sheet.png")
