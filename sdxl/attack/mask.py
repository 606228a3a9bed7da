"""What the masking attack does: which region of each image is hidden, and which files are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import records
from harness.errors import UserError
from harness.files import digest
from sdxl.attack.options import MaskAttackOptions
from sdxl.attack.plan import AttackPlan
from sdxl.attack.regions import Box, Region, detector, regions_of
from sdxl.manifest import Filled
from sdxl.parallel import Group

LARGEST = 256  # pixels of a side of the squares that regions are written as, at most
GUIDANCE = {"posterior": 1.0, "inpainting": 7.5}  # by --fill, if captions are given
UNUSABLE = "cut off, too small, or nearly all of the picture"  # boxes that are dropped


@dataclass(frozen=True)
class DetectedBoxes:
    """regions.json: boxes by key, and the fingerprints of the images and of the detector that they follow from."""

    of: tuple[str, str]
    boxes: dict[str, list[Box]]
    version: int = 1


class MaskAttackPlan(AttackPlan):
    """Hides the largest region of each image that has one. Raises: UserError if options or files do not go together."""

    config: MaskAttackOptions
    record = Filled
    regions: list[Region]  # of the images in `pictures`, after `prepare`

    def __init__(self, config: MaskAttackOptions, group: Group):
        super().__init__(config, group)
        keys = [picture.key for picture in self.listed]
        self.detector = detector(config.detector, keys, cut=config.images is not None, device=group.device)
        self.fingerprints |= {"detector": self.detector.fingerprint, "scheduler's settings": self.base.fingerprint("scheduler")}
        self.side = min(LARGEST, self.resolution)

    def prepare(self) -> None:
        """Find the regions, or read the boxes that this folder has, and keep the images that have a region."""
        super().prepare()
        self.boxes = self.group.by_main(self.read_boxes) or self.detect_boxes()
        counts = self.group.together(self.choose_regions)
        self.manifest_fields = {"regions": {"detector": self.config.detector, **counts}}
        listed = ", ".join(f"{what}: {count}" for what, count in counts.items())
        self.group.say(f"{self.config.detector}: {listed} ({UNUSABLE})")

    def detect_boxes(self) -> dict[str, list[Box]]:
        """The boxes in each image by its key; each process looks at its share of the images."""
        mine: dict[str, list[Box]] = {}

        def look(image: int) -> None:
            picture = self.pictures[image]
            mine[picture.key] = self.detector.find(picture.open(), picture.key)

        numbers = range(len(self.pictures))
        self.group.in_rounds(self.group.split(numbers), look, stopping=lambda: False, doing="looking for regions")
        boxes = {key: found for share in self.group.gather(mine) for key, found in share.items()}
        return {picture.key: boxes[picture.key] for picture in self.pictures}

    def read_boxes(self) -> dict[str, list[Box]] | None:
        """The boxes in regions.json; None if the file is missing, damaged, or of other images or another detector."""
        try:
            known = records.read(self.boxes_file(), DetectedBoxes)
        except UserError:
            return None
        keys = {picture.key for picture in self.pictures}
        return known.boxes if known.of == self.origin_of_boxes() and known.boxes.keys() == keys else None

    def origin_of_boxes(self) -> tuple[str, str]:
        """The fingerprints of the images and of the detector."""
        return self.fingerprints["images"], self.fingerprints["detector"]

    def boxes_file(self) -> Path:
        """Where the boxes are kept, so that the same command does not ask the detector again."""
        return Path(self.config.out) / "regions.json"

    def begin(self) -> None:
        records.write(self.boxes_file(), DetectedBoxes(self.origin_of_boxes(), self.boxes))

    def choose_regions(self) -> dict[str, int]:
        """Take the largest region of each image. Returns counts of images and boxes. Raises: UserError if no image has one."""
        images, with_region, usable = len(self.pictures), [], 0
        self.regions = []
        for picture in self.pictures:
            height, width = picture.reading.size
            regions = regions_of(self.boxes[picture.key], (width, height), self.resolution, self.vae.pixels())
            usable += len(regions)
            if regions:
                with_region.append(picture)
                self.regions.append(max(regions, key=lambda region: region.area))
        boxes = sum(map(len, self.boxes.values()))
        if not with_region:
            why = f"none of its {boxes} boxes can be used: {UNUSABLE}" if boxes else f"it finds nothing in {images} images"
            raise UserError(f"--detector {self.config.detector}: {why}; take another (boxes:FILE, detr:SOURCE, center:SHARE)")
        self.pictures = with_region
        self.fingerprints["regions"] = digest(json.dumps([[picture.key for picture in with_region], self.regions]).encode())
        return {"images": images, "without a region": images - len(with_region), "boxes": boxes, "dropped": boxes - usable}

    def identity(self) -> dict[str, Any]:
        """As of every attack; but a file of boxes counts by its regions, so that a control may have a file of its own."""
        boxes = {key: "boxes" for key in ("detector", "print of detector") if self.config.detector.startswith("boxes:")}
        return super().identity() | boxes

    def results(self, image: int) -> list[tuple[Path, dict[str, Any]]]:
        fields = {"box": self.regions[image], "original": f"originals/{self.original_file(image).name}"}
        return [(self.file(j, image), {"kind": f"fill_{j}", **fields}) for j in range(self.config.samples)]

    def file(self, sample: int, image: int) -> Path:
        """The picture of a filled region."""
        return Path(self.config.out) / "images" / f"fill_{sample}_{image:06d}.png"

    def original_file(self, image: int) -> Path:
        """The picture of what was hidden."""
        return Path(self.config.out) / "originals" / f"{image:06d}.png"

    def further_files(self, image: int) -> list[Path]:
        return [self.original_file(image), *super().further_files(image)]

    def guidance(self) -> float:
        """The scale of classifier-free guidance; 1, which is none, without captions."""
        if not self.config.captions:
            return 1.0
        return GUIDANCE[self.config.fill] if self.config.guidance is None else self.config.guidance

    def evaluations(self) -> int:
        steps = (len(self.times) - 1) * (1 + self.config.resample) if self.config.fill == "posterior" else self.config.steps - 1
        return self.config.samples * steps * (1 if self.guidance() == 1 else 2)
