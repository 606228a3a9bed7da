"""What attacks have in common: images in turn, each by one process, each result written whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.files import digest
from harness.wording import several
from sdxl.images import crop, survey
from sdxl.images.pictures import Columns, pictures
from sdxl.images.sheets import save, sheet
from sdxl.images.written import refuse_missing, whole
from sdxl.manifest import Attacked, write_images_manifest
from sdxl.model import base, lora, sampling
from sdxl.model.base import dtype_of, find_with_vae, within_memory
from sdxl.model.text import TextEncoder
from sdxl.parallel import Group

NOT_IDENTITY = ("out", "dry_run")
ADVICE = "take --dtype bfloat16, or a lower --resolution"  # where memory runs out
STRIPS, SHOWN = 8, 64  # images in strips/, and on the sheet


class AttackPlan(ABC):
    """An attack, found and checked before anything large is loaded. Raises: UserError for what does not go together."""

    row: type[Attacked]  # what the manifest says of a result

    def __init__(self, config: Any, group: Group):
        self.config: Any = config
        self.group = group
        named = config.caption_column if config.captions else ""
        columns = Columns(split=config.split, caption=named, advice="leave --captions out")
        caption = None if config.captions else ""
        self.pictures = pictures(config.data, columns, caption=caption, t_n=0, count=config.images, say=group.say)
        group.employ(len(self.pictures), config.data)
        self.base, self.vae = find_with_vae(config.base, config.vae, parts=("unet", "scheduler", *base.PARTS))
        self.lora = lora.opened(config.lora, self.base) if config.lora else None
        self.prints = self.base.identity("unet", "scheduler", *base.PARTS) | self.vae.identity("vae")
        self.prints |= {"lora content": self.lora.digest} if self.lora else {}
        self.dtype, self.path = dtype_of(config.dtype, group.device), self.base.path()
        self.times = sampling.grid(self.base.schedule(), config.steps)
        self.resolution: int = config.resolution or self.base.resolution(self.vae.pixels())
        sizes = base.shapes(self.base, self.vae, self.resolution)
        self.base.fit(sizes, "the VAE and the text encoders", inpainting=getattr(config, "fill", "") == "inpainting")

    def take(self, seen: list[survey.Seen]) -> None:
        """Note what the images are. Raises: UserError for those that cannot be read."""
        survey.usable(self.pictures, seen, smallest=1, skip=False)
        small = sum(min(s.size) < self.resolution for s in seen)
        if small:
            self.group.say(f"warning: {small} of {len(seen)} images are smaller than {self.resolution} pixels, and enlarged")
        self.digests = {p.key: s.digest for p, s in zip(self.pictures, seen, strict=True)}
        rows = [f"{p.key}\t{p.caption}\t{s.digest}" for p, s in zip(self.pictures, seen, strict=True)]
        self.prints["images"] = digest("\n".join(rows).encode())

    def prepare(self, seen: list[survey.Seen]) -> None:
        """What is left to be found by all processes, each its share of the images."""
        self.group.together(lambda: self.take(seen))

    @abstractmethod
    def results(self, image: int) -> list[tuple[Path, dict[str, Any]]]:
        """The pictures that are made of an image, and what is said of each in its own `row`."""

    @abstractmethod
    def shown(self, image: int) -> Path:
        """Which of them the sheet shows."""

    @abstractmethod
    def attacker(self) -> Attacker:
        """What makes and writes them."""

    @abstractmethod
    def costs(self) -> str:
        """A line on how much there is to do."""

    def aside(self, image: int) -> list[Path]:
        """Further pictures of an image, of which the manifest does not speak."""
        return [self.strip(image)] if image < STRIPS else []

    def begin(self) -> None:
        """Make the folders, without what a killed process has left."""
        for file in self.files(0):
            file.parent.mkdir(parents=True, exist_ok=True)
            for left in file.parent.glob(".*"):
                left.unlink()

    def about(self) -> dict[str, Any]:
        """What more the manifest says."""
        return {}

    def files(self, image: int) -> list[Path]:
        """All that is written of an image."""
        return [file for file, _ in self.results(image)] + self.aside(image)

    def strip(self, image: int) -> Path:
        return Path(self.config.out) / "strips" / f"{image:06d}.png"

    def identity(self) -> dict[str, Any]:
        """What the results depend on: models and images by their content."""
        own = {key: value for key, value in asdict(self.config).items() if key not in NOT_IDENTITY}
        found = {"resolution": self.resolution, "dtype": str(self.dtype).removeprefix("torch.")}
        return own | found | {f"print of {part}": value for part, value in self.prints.items()}

    def lines(self) -> list[str]:
        """What --dry-run prints."""
        return [
            *(f"{key}: {value}" for key, value in (asdict(self.config) | self.identity()).items()),
            self.costs(),
            f"processes: {self.group.size} on {self.group.device.type}",
        ]


class Attacker(ABC):
    """UNet with LoRA, VAE and text encoders, on one device."""

    def __init__(self, plan: AttackPlan):
        self.device = plan.group.device
        with within_memory(ADVICE):
            self.unet = lora.adapted(plan.base, plan.lora, plan.dtype).to(self.device)
            self.vae = plan.vae.vae().to(self.device)
            self.text = TextEncoder(plan.base, self.device)

    @abstractmethod
    def __call__(self, image: int) -> None:
        """Attack one image, and write all of it."""

    def read(self, plan: AttackPlan, image: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Pixels (3, R, R) in [-1, 1], and the condition of one sample."""
        one = plan.pictures[image]
        square, time_ids = crop.fit(survey.decode(one.read()), plan.resolution, "center", 0, one.key)
        text = self.text.of_image(one.caption if plan.config.captions else "")
        return square, {name: value.to(self.device) for name, value in (text | {"time_ids": time_ids[None]}).items()}


def conduct(plan: AttackPlan) -> None:
    """Carry out an attack, or print its plan. Raises: UserError; Interrupted, in the first process, if one was asked to stop."""
    group, config = plan.group, plan.config
    plan.prepare(survey.survey(plan.pictures, group, 8))
    if config.dry_run:
        return group.say(*plan.lines())
    with group.results(config.out, plan.identity()) as stopping:
        carry_out(plan, group, stopping)


def carry_out(plan: AttackPlan, group: Group, stopping: Callable[[], bool]) -> None:
    """Attack the images that are not done, and write the manifest of all. Raises: as `conduct`."""
    todo = group.by_main(lambda: _unfinished(plan))
    if todo:
        attacker = group.together(plan.attacker)

        def attack(image: int) -> None:
            with within_memory(ADVICE):
                attacker(image)

        group.in_rounds(group.split(todo), attack, stopping=stopping, doing="attacking")
    group.on_main(lambda: _seal(plan))
    group.say(f"{several(len(plan.pictures), 'image')} attacked, {len(todo)} now -> {plan.config.out}")


def _unfinished(plan: AttackPlan) -> list[int]:
    """The images of which something is not there, or not whole."""
    plan.begin()
    return [i for i in range(len(plan.pictures)) if not all(map(whole, plan.files(i)))]


def _seal(plan: AttackPlan) -> None:
    """Manifest and contact sheet. Raises: as `refuse_missing`."""
    numbers, out = range(len(plan.pictures)), Path(plan.config.out)
    refuse_missing([file for i in numbers for file in plan.files(i)], plan.config.out)
    images = tuple(
        plan.row(file.relative_to(out).as_posix(), i, one.caption, one.key, plan.digests[one.key], **about)
        for i, one in enumerate(plan.pictures)
        for file, about in plan.results(i)
    )
    write_images_manifest(out, plan.config, plan.identity(), images, None, **plan.about())
    save(sheet([plan.shown(i) for i in numbers[:SHOWN]]), out / "sheet.png")
