"""Images to be looked at, in order and of one size: what `generate` has made, or any source that `corrupt --data` takes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import UserError
from harness.files import digest
from harness.wording import few
from sdxl.images.crop import fit
from sdxl.images.pictures import Columns, Picture, pictures
from sdxl.images.sheets import to_bytes
from sdxl.images.survey import Seen, decode, survey
from sdxl.manifest import ImagesManifest, images_manifest
from sdxl.parallel import Group

NO_CAPTIONS = Columns(caption="")


@dataclass(frozen=True)
class Images:
    """uint8 (3, H, W) by number. `fingerprint`: of what the images are, wherever they lie and whatever they are called."""

    source: str
    pictures: list[Picture]
    digests: list[str]
    size: tuple[int, int]  # height and width
    resolution: int | None = None  # to which the shorter side is resized, the rest cut off; None: as they are
    manifest: ImagesManifest | None = None  # what `generate` or `attack` tells of them

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> Any:
        """As PIL has it, whole. Raises: UserError if it is no longer what it was."""
        payload = self.pictures[index].read()
        if digest(payload) != self.digests[index]:
            raise UserError(f"{self.pictures[index].key} of {self.source} has changed since the command began; run it again")
        return decode(payload)

    def __getitem__(self, index: int) -> Tensor:
        image = self.image(index)
        if self.resolution is None:
            return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        return to_bytes(fit(image, self.resolution, "center", 0, "")[0])

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.digests, self.resolution)

    @property
    def about(self) -> dict[str, Any]:
        """For the manifest of a result."""
        where = Path(self.source).name if Path(self.source).is_dir() else self.source
        return {"source": where, "images": len(self), "size": list(self.size), "fingerprint": self.fingerprint}


def fingerprint(digests: list[str], resolution: int | None) -> str:
    """Of images by their bytes, and of the size they are brought to."""
    return digest(json.dumps([digests, resolution]).encode())


def opened(
    source: str,
    group: Group,
    *,
    columns: Columns = NO_CAPTIONS,
    caption: str | None = "",
    resolution: int | None = None,
    count: int | None = None,
    threads: int = 8,
) -> Images:
    """Read and check every image; all processes call it. caption: for images without one; None: each must have its own.

    Raises: UserError for a source that is not there, images that cannot be read, are of several sizes or smaller than the
    resolution, and a folder of `generate` that does not hold what its manifest says.
    """
    found, manifest = group.together(lambda: _listed(source, columns, caption, count, group))
    seen = survey(found, group, threads)
    size = group.together(lambda: _size(source, found, seen, resolution))
    return Images(source, found, [s.digest for s in seen], size, resolution, manifest)


def _listed(
    source: str, columns: Columns, caption: str | None, count: int | None, group: Group
) -> tuple[list[Picture], ImagesManifest | None]:
    folder = Path(source)
    if (folder / "manifest.json").is_file():
        manifest = images_manifest(folder)
        return generated(folder, manifest)[:count], manifest
    if (folder / "config.yaml").is_file() and (folder / "images").is_dir():
        raise UserError(f"{source} is not finished; run the same command again")
    return pictures(source, columns, caption=caption, t_n=0, count=count, say=group.say), None


def generated(folder: Path, manifest: ImagesManifest) -> list[Picture]:
    """The images that a manifest lists. Raises: UserError where some are not there, or others are."""
    listed = [row.file for row in manifest.images]
    there = {path.relative_to(folder).as_posix() for path in (folder / "images").glob("*.png") if path.name[0] != "."}
    lost, more = [name for name in listed if name not in there], sorted(there - set(listed))
    if lost or more:
        what = f"{len(lost)} of its images are missing ({few(lost)})" if lost else f"{few(more)} is not in it"
        raise UserError(f"{folder} does not match its manifest.json: {what}; run the command that made it again")
    return [Picture(row.file, row.prompt or "", 0, partial((folder / row.file).read_bytes)) for row in manifest.images]


def _size(source: str, found: list[Picture], seen: list[Seen], resolution: int | None) -> tuple[int, int]:
    """Height and width of all. Raises: UserError for images that cannot be read, or have no common size."""
    faults = [f"{p.key} {s.fault}" for p, s in zip(found, seen, strict=True) if s.fault]
    if faults:
        raise UserError(f"{len(faults)} of {len(found)} images of {source} cannot be read ({few(faults)}); mend or remove them")
    sizes = Counter(s.size for s in seen)
    small = min(min(size) for size in sizes)
    if resolution is not None and small < resolution:
        raise UserError(
            f"{source} has images of {small} pixels, smaller than --resolution {resolution}; take --resolution {small // 8 * 8}"
        )
    if resolution is None and len(sizes) > 1:
        shown = few([f"{count} of {wide}x{high}" for (high, wide), count in sizes.most_common()])
        raise UserError(
            f"{source} holds images of {len(sizes)} sizes ({shown}); with --resolution they are resized and cropped to one"
        )
    return next(iter(sizes)) if resolution is None else (resolution, resolution)
