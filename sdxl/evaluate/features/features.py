"""Features of a set of images, computed once and kept: shared among processes, gone on with where they were stopped.

    <cache>/features/<images>-<extractor>/00000.safetensors    of 256 images each, with the two fingerprints in the header

The cache is $EXACT_AMBIENT_CACHE, or ~/.cache/exact-ambient. Its names follow from what the images and the weights are, so that
nothing out of date can be picked up; the folder may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harness import records
from harness.errors import UserError
from harness.files import cache_folder, write_atomically
from sdxl.evaluate.features.extractors import Extractor
from sdxl.images.folder import Images
from sdxl.images.survey import ahead
from sdxl.parallel import Group

SHARD = 256  # images a file
NAMES = ("features", "extremes")


@dataclass(frozen=True)
class Header:
    """What a file of features is of: the fingerprints of the images and of the extractor, and which file it is."""

    images: str
    extractor: str
    shard: int
    version: int = 1


def features(
    images: Images, extractor: Extractor, group: Group, *, batch: int = 16, stopping: Callable[[], bool] = lambda: False
) -> Tensor:
    """(N, F), float32 on the CPU, the same in all processes. A batch may change last bits, and is not part of the key.

    Raises: UserError for features that are not finite, and for a file of the cache that holds others; Interrupted.
    """
    folder = cache_folder() / "features" / f"{images.fingerprint}-{extractor.fingerprint}"
    shards = [range(i, min(i + SHARD, len(images))) for i in range(0, len(images), SHARD)]
    group.on_main(lambda: folder.mkdir(parents=True, exist_ok=True))
    about = partial(Header, images.fingerprint, extractor.fingerprint)
    todo = group.by_main(lambda: [i for i, rows in enumerate(shards) if _read(folder, i, about, len(rows)) is None])
    group.in_rounds(
        group.split(todo),
        lambda i: _write(folder, i, about, shards[i], images, extractor, batch),
        stopping=stopping,
        doing=f"features of {images.source}",
        unit="images have features",
        weigh=lambda i: len(shards[i]),
    )
    found = group.together(lambda: [_known(folder, i, about, len(rows)) for i, rows in enumerate(shards)])
    group.together(lambda: _check_range(images, torch.cat([extremes for _, extremes in found])))
    return torch.cat([part for part, _ in found])


def _write(
    folder: Path, number: int, about: Callable[[int], Header], rows: range, images: Images, extractor: Extractor, batch: int
) -> None:
    parts, extremes = [], []
    pixels = ahead(images.__getitem__, rows, batch)
    for start in range(0, len(rows), batch):
        some = torch.stack([next(pixels) for _ in rows[start : start + batch]])
        parts.append(extractor(some))
        extremes.append(torch.stack(some.flatten(1).aminmax(dim=1), 1))
        bad = (~parts[-1].isfinite().all(1)).nonzero()
        if len(bad):
            name = images.pictures[rows[start + int(bad[0])]].key
            raise UserError(f"the extractor {extractor.name} gives {name} features that are not finite: damaged weights?")
    header = records.to_json(about(number))  # one entry: safetensors shuffles several
    payload = save({"features": torch.cat(parts), "extremes": torch.cat(extremes)}, metadata={"about": header})
    write_atomically(folder / f"{number:05d}.safetensors", payload)


def _read(folder: Path, number: int, about: Callable[[int], Header], count: int) -> tuple[Tensor, Tensor] | None:
    """Features and the least and largest number of each image; None if they are still to be made, or damaged."""
    file = folder / f"{number:05d}.safetensors"
    try:
        with safe_open(file, "pt") as opened:
            said = records.from_json((opened.metadata() or {}).get("about", "{}"), Header, where=str(file))
            rows, extremes = (opened.get_tensor(name) for name in NAMES)
    except (SafetensorError, OSError, UserError):
        return None
    if said != about(number) or len(rows) != count:
        raise UserError(f"{file} holds the features of other images or of another extractor; delete that file, and run it again")
    return rows, extremes


def _known(folder: Path, number: int, about: Callable[[int], Header], count: int) -> tuple[Tensor, Tensor]:
    found = _read(folder, number, about, count)
    if found is None:
        raise UserError(f"{folder / f'{number:05d}.safetensors'} is not here: do all processes see that folder?")
    return found


def _check_range(images: Images, extremes: Tensor) -> None:
    """Raises: UserError for images that use a 64th of their range or less: of [0, 1], written as they were."""
    most = int(extremes[:, 1].max())
    if most < 4:
        raise UserError(
            f"the images of {images.source} hold no number above {most}; their range must be 0 .. 255: write them anew"
        )
