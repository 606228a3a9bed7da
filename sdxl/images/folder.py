"""Images to be compared, in order and of one size: what `generate` wrote, or any source that `corrupt --data` takes."""

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
from sdxl.images.survey import SurveyedPicture, refuse_unreadable, survey
from sdxl.manifest import ImagesManifest, images_manifest, source_name
from sdxl.parallel import Group

NO_CAPTIONS = Columns(caption="")


@dataclass(frozen=True)
class Images:
    """Images by number, as uint8 (3, H, W). `manifest`: what `generate` or `attack` recorded of them."""

    source: str
    pictures: list[SurveyedPicture]
    size: tuple[int, int]  # height and width
    resolution: int | None = None  # to which the shorter side is resized, the rest cut off; None: no change
    manifest: ImagesManifest | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        image = self.pictures[index].open()
        if self.resolution is None:
            return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        return to_bytes(fit(image, self.resolution, "center", 0, "")[0])

    @property
    def digests(self) -> list[str]:
        """The digest of the bytes of each image."""
        return [picture.reading.digest for picture in self.pictures]

    @property
    def fingerprint(self) -> str:
        """A digest of the images, which does not depend on their folder and names."""
        return fingerprint(self.digests, self.resolution)

    @property
    def about(self) -> dict[str, Any]:
        """What the record of a result says of these images."""
        return {"source": source_name(self.source), "images": len(self), "size": list(self.size), "fingerprint": self.fingerprint}


def fingerprint(digests: list[str], resolution: int | None) -> str:
    """A digest of images, given the digests of their bytes and the size to which they are resized."""
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
    """The images of a source, each read and checked once; all processes must call this.

    Args: caption: for images without one; None: each must have its own.
    Raises: UserError for a source that does not exist, images that cannot be read, have several sizes or are smaller than the
    resolution, and a folder of `generate` that does not hold what its manifest lists.
    """
    manifest = group.together(lambda: _manifest(source))

    def listed() -> list[Picture]:
        if manifest is not None:
            return generated(Path(source), manifest)[:count]
        return pictures(source, columns, caption=caption, t_n=0, count=count, say=group.say)

    surveyed = survey(group.together(listed), group, threads)
    size = group.together(lambda: _common_size(source, surveyed, resolution))
    return Images(source, surveyed, size, resolution, manifest)


def _manifest(source: str) -> ImagesManifest | None:
    """The manifest that `generate` or `attack` wrote; None for other sources. Raises: UserError for an unfinished folder."""
    folder = Path(source)
    if (folder / "manifest.json").is_file():
        return images_manifest(folder)
    if (folder / "config.yaml").is_file() and (folder / "images").is_dir():
        raise UserError(f"{source} is not finished; run the same command again")
    return None


def generated(folder: Path, manifest: ImagesManifest) -> list[Picture]:
    """The images that a manifest lists. Raises: UserError unless the folder holds exactly these."""
    listed = [row.file for row in manifest.images]
    present = {path.relative_to(folder).as_posix() for path in (folder / "images").glob("*.png") if path.name[0] != "."}
    lost, more = [name for name in listed if name not in present], sorted(present - set(listed))
    if lost or more:
        what = f"{len(lost)} of its images are missing ({few(lost)})" if lost else f"{few(more)} is not in it"
        raise UserError(f"{folder} does not match its manifest.json: {what}; run the command that made it again")
    return [Picture(row.file, row.prompt or "", 0, partial((folder / row.file).read_bytes)) for row in manifest.images]


def _common_size(source: str, surveyed: list[SurveyedPicture], resolution: int | None) -> tuple[int, int]:
    """Height and width of all images. Raises: UserError for images that cannot be read, or have no common size."""
    refuse_unreadable(surveyed, source)
    sizes = Counter(picture.reading.size for picture in surveyed)
    small = min(min(size) for size in sizes)
    if resolution is not None and small < resolution:
        raise UserError(
            f"{source} has images of {small} pixels, smaller than --resolution {resolution}; take --resolution {small // 8 * 8}"
        )
    if resolution is None and len(sizes) > 1:
        listed = few([f"{count} of {wide}x{high}" for (high, wide), count in sizes.most_common()])
        raise UserError(
            f"{source} holds images of {len(sizes)} sizes ({listed}); with --resolution they are resized and cropped to one"
        )
    return next(iter(sizes)) if resolution is None else (resolution, resolution)
