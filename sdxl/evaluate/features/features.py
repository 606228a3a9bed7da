"""Features of a set of images, computed once by all processes together, and kept on disk.

    <cache>/features/<images>-<extractor>/00000.safetensors    of 256 images each, with the two fingerprints in the header

The cache is $EXACT_AMBIENT_CACHE, or ~/.cache/exact-ambient. Names of folders follow from the content of images and weights, so
that changed images or weights have other features. The cache may be deleted at any time.
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

SHARD = 256  # images in a file
NAMES = ("features", "extremes")  # the tensors in a file: (N, F), and the least and largest value of each image, (N, 2)


@dataclass(frozen=True)
class Header:
    """The header of a file: the fingerprints of the images and of the extractor, and the number of the file."""

    images: str
    extractor: str
    shard: int
    version: int = 1


def features(
    images: Images, extractor: Extractor, group: Group, *, batch: int = 16, stopping: Callable[[], bool] = lambda: False
) -> Tensor:
    """Features (N, F), float32 on the CPU, the same in all processes. The batch size may change last bits.

    Raises: UserError for features that are not finite, and for a file with other features in their place; Interrupted.
    """
    folder = cache_folder() / "features" / f"{images.fingerprint}-{extractor.fingerprint}"
    shards = [range(i, min(i + SHARD, len(images))) for i in range(0, len(images), SHARD)]
    group.on_main(lambda: folder.mkdir(parents=True, exist_ok=True))
    header = partial(Header, images.fingerprint, extractor.fingerprint)
    todo = group.by_main(lambda: [i for i, rows in enumerate(shards) if _read(folder, i, header, len(rows)) is None])
    group.in_rounds(
        group.split(todo),
        lambda i: _write(folder, i, header, shards[i], images, extractor, batch),
        stopping=stopping,
        doing=f"features of {images.source}",
        unit="images have features",
        weigh=lambda i: len(shards[i]),
    )
    parts = group.together(lambda: [_known(folder, i, header, len(rows)) for i, rows in enumerate(shards)])
    group.together(lambda: _check_range(images, torch.cat([extremes for _, extremes in parts])))
    return torch.cat([features for features, _ in parts])


def _write(
    folder: Path, number: int, header: Callable[[int], Header], rows: range, images: Images, extractor: Extractor, batch: int
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
    about = records.to_json(header(number))  # as one entry, since safetensors changes the order of several
    payload = save({"features": torch.cat(parts), "extremes": torch.cat(extremes)}, metadata={"about": about})
    write_atomically(folder / f"{number:05d}.safetensors", payload)


def _read(folder: Path, number: int, header: Callable[[int], Header], count: int) -> tuple[Tensor, Tensor] | None:
    """The tensors of a file; None if it is missing or damaged. Raises: UserError if its header is that of other features."""
    file = folder / f"{number:05d}.safetensors"
    try:
        with safe_open(file, "pt") as opened:
            found = records.from_json((opened.metadata() or {}).get("about", "{}"), Header, where=str(file))
            rows, extremes = (opened.get_tensor(name) for name in NAMES)
    except (SafetensorError, OSError, UserError):
        return None
    if found != header(number) or len(rows) != count:
        raise UserError(f"{file} holds the features of other images or of another extractor; delete that file, and run it again")
    return rows, extremes


def _known(folder: Path, number: int, header: Callable[[int], Header], count: int) -> tuple[Tensor, Tensor]:
    """As `_read`. Raises: UserError if the file of another process is not here."""
    tensors = _read(folder, number, header, count)
    if tensors is None:
        raise UserError(f"{folder / f'{number:05d}.safetensors'} is not here: do all processes see that folder?")
    return tensors


def _check_range(images: Images, extremes: Tensor) -> None:
    """Raises: UserError if no value is above 3: the images then had a range of [0, 1] when they were written as bytes."""
    largest = int(extremes[:, 1].max())
    if largest < 4:
        why = f"the images of {images.source} hold no number above {largest}"
        raise UserError(f"{why}; their range must be 0 .. 255: write them anew")
