"""What the masking attack does: which region of each image is hidden, and what is written of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import records
from harness.errors import UserError
from harness.files import digest
from harness.wording import several
from sdxl.attack.options import MaskAttackOptions
from sdxl.attack.plan import AttackPlan
from sdxl.attack.regions import Box, detector, mapped
from sdxl.images import survey
from sdxl.manifest import Filled
from sdxl.parallel import Group

SIDE = 256  # at most, of the squares that regions are written as: pixels
Hole = tuple[int, int, int, int]  # left, top, right, bottom: pixels of the square that the model sees, whole latents


@dataclass(frozen=True)
class Regions:
    """regions.json: boxes by key, and the prints of the images and of the detector that they are of."""

    of: tuple[str, str]
    boxes: dict[str, list[Box]]
    version: int = 1


class Holes(AttackPlan):
    """The largest region of each image that has one. Raises: UserError for what does not go together."""

    config: MaskAttackOptions
    row = Filled
    holes: list[Hole]

    def __init__(self, config: MaskAttackOptions, group: Group):
        super().__init__(config, group)
        keys = [one.key for one in self.pictures]
        self.detector = detector(config.detector, keys, cut=config.images is not None, device=group.device)
        self.prints |= {"detector": self.detector.fingerprint, "scheduler's settings": self.base.fingerprint("scheduler")}
        self.side, self.boxes, self.counts = min(SIDE, self.resolution), {}, {}

    def prepare(self, seen: list[survey.Seen]) -> None:
        """Find the regions, or read those that this folder knows; keep the images that have one."""
        super().prepare(seen)
        self.boxes = self.group.by_main(self.remembered) or self.detected()
        self.group.together(lambda: self.keep(seen))
        counts, dropped = self.counts, ""
        if counts["dropped"]:
            dropped = f"; dropped boxes: {counts['dropped']}, cut off, too small, or nearly all of the picture"
        boxes, images = several(counts["boxes"], "box", "boxes"), several(counts["images"], "image")
        kept = f"{several(len(self.holes), 'image')} with a region, {counts['without a region']} left out"
        self.group.say(f"{self.config.detector}: {boxes} in {images}; {kept}{dropped}")

    def detected(self) -> dict[str, list[Box]]:
        """Boxes by key, each process its share."""
        mine: dict[str, list[Box]] = {}

        def look(image: int) -> None:
            one = self.pictures[image]
            mine[one.key] = self.detector.find(survey.decode(one.read()), one.key)

        numbers = range(len(self.pictures))
        self.group.in_rounds(self.group.split(numbers), look, stopping=lambda: False, doing="looking for regions")
        found = {key: boxes for share in self.group.gather(mine) for key, boxes in share.items()}
        return {one.key: found[one.key] for one in self.pictures}

    def remembered(self) -> dict[str, list[Box]] | None:
        """The boxes that this folder was begun with; None where they are of other images, or damaged."""
        try:
            found = records.read(self.memory(), Regions)
        except UserError:
            return None
        return found.boxes if found.of == self.of() and found.boxes.keys() == self.digests.keys() else None

    def of(self) -> tuple[str, str]:
        """The prints that boxes follow from."""
        return self.prints["images"], self.prints["detector"]

    def memory(self) -> Path:
        return Path(self.config.out) / "regions.json"

    def begin(self) -> None:
        """Also keep what the detector has found, so that going on does not ask it again."""
        super().begin()
        records.write(self.memory(), Regions(self.of(), self.boxes))

    def keep(self, seen: list[survey.Seen]) -> None:
        """The images that have a region, by its place in the square. Raises: UserError if none has."""
        kept, self.holes, left = [], [], 0
        for one, it in zip(self.pictures, seen, strict=True):
            found = mapped(self.boxes[one.key], (it.size[1], it.size[0]), self.resolution, self.vae.pixels())
            left += len(found)
            if found:
                kept.append(one)
                self.holes.append(max(found, key=lambda hole: (hole[2] - hole[0]) * (hole[3] - hole[1])))
        boxes, images = sum(map(len, self.boxes.values())), len(self.pictures)
        self.counts = {"images": images, "without a region": images - len(kept), "boxes": boxes, "dropped": boxes - left}
        if not kept:
            why = f"none of its {boxes} boxes can be used: cut off, too small, or nearly all of the picture" if boxes else (
                f"it finds nothing in {images} images"
            )  # fmt: skip
            raise UserError(f"--detector {self.config.detector}: {why}; take another (boxes:FILE, detr:SOURCE, center:SHARE)")
        self.pictures = kept
        self.prints["regions"] = digest(json.dumps([[one.key for one in kept], self.holes]).encode())

    def identity(self) -> dict[str, Any]:
        """A file of boxes is known by the regions that come of it: that of a control is another one, of the same attack."""
        boxes = {key: "boxes" for key in ("detector", "print of detector") if self.config.detector.startswith("boxes:")}
        return super().identity() | boxes

    def results(self, image: int) -> list[tuple[Path, dict[str, Any]]]:
        about = {"box": self.holes[image], "original": f"originals/{self.original(image).name}"}
        return [(self.file(j, image), {"kind": f"fill_{j}", **about}) for j in range(self.config.samples)]

    def file(self, sample: int, image: int) -> Path:
        return Path(self.config.out) / "images" / f"fill_{sample}_{image:06d}.png"

    def original(self, image: int) -> Path:
        return Path(self.config.out) / "originals" / f"{image:06d}.png"

    def aside(self, image: int) -> list[Path]:
        return [self.original(image), *super().aside(image)]

    def shown(self, image: int) -> Path:
        return self.file(0, image)

    def scale(self) -> float:
        """Of guidance: none where there is no caption to guide by."""
        if not self.config.captions:
            return 1.0
        return (
            self.config.guidance if self.config.guidance is not None else {"posterior": 1.0, "inpainting": 7.5}[self.config.fill]
        )

    def about(self) -> dict[str, Any]:
        return {"regions": {"detector": self.config.detector, **self.counts}}

    def costs(self) -> str:
        steps = (len(self.times) - 1) * (1 + self.config.resample) if self.config.fill == "posterior" else self.config.steps - 1
        each = self.config.samples * steps * (1 if self.scale() == 1 else 2)
        count = len(self.pictures)
        return f"{count} images, {count * self.config.samples} results, {each} evaluations of the UNet for each image"
