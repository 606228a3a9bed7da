"""A set of noisy latents on disk: `corrupt` writes it once, and `train` sees nothing else of the data.

    config.yaml              the identity of the set: images and models by their digests, schedule, transform, seed
    shard_00000.safetensors  x_n (N, 4, h, w), t_n (N,), prompt_embeds (N, 77, C), pooled (N, P), time_ids (N, 6)
    ...                      and in the header: keys and captions of the N images
    null.safetensors         the embedding of no caption: prompt_embeds (1, 77, C), pooled (1, P)
    manifest.json            written last: the shards with their digests and sizes, and a digest of the whole set

Shards are mapped into memory, so that reading a row takes no more memory than the row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harness import records
from harness.errors import UserError
from harness.files import digest, write_atomically
from harness.wording import few
from sdxl.manifest import MANIFEST, NULL, REMEDY, Header, Manifest, Shard, read_header, set_manifest

ROWS = ("x_n", "t_n", "prompt_embeds", "pooled", "time_ids")
CONDITION = ("prompt_embeds", "pooled", "time_ids")


def shard_name(number: int) -> str:
    """The name of the file of a shard."""
    return f"shard_{number:05d}.safetensors"


def write_tensors(file: Path, rows: dict[str, Tensor], header: Header | None = None) -> None:
    """Write the rows (N, ...) of the images of one shard, or with NULL as `file` the embedding of no caption (1, ...)."""
    about = {"about": records.to_json(header)} if header else None  # one entry: safetensors shuffles several
    write_atomically(file, save({name: value.contiguous() for name, value in rows.items()}, metadata=about))


def identity_of(file: Path) -> str | None:
    """The digest of what a shard was made from, according to its header; None for a damaged one."""
    try:
        with safe_open(file, "pt") as opened:
            return read_header(file, opened).identity
    except (SafetensorError, OSError, UserError):
        return None


def describe_levels(levels: Iterable[float]) -> str:
    """A message: how many images there are at each of the first levels."""
    counts = Counter(levels)
    return few([f"{counts[t]:,} at t_n = {t:g}" for t in sorted(counts)], 6)


def write_manifest(directory: Path, about: Manifest) -> None:
    """Write the manifest, to which the files of the set are added: this seals the set."""
    shards = []
    for file in sorted(directory.glob("shard_*.safetensors")):
        with safe_open(file, "pt") as opened:
            shards.append(Shard(file.name, digest(file.read_bytes()), opened.get_slice("t_n").get_shape()[0]))
    whole = replace(about, shards=tuple(shards), null=digest((directory / NULL).read_bytes()))
    records.write(directory / MANIFEST, replace(whole, digest=whole.content))


class NoisySet:
    """The images of a noisy set by number, in the order in which they were written.

    Raises: UserError if the folder holds no finished set, or a set of another format.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        if not (self.directory / MANIFEST).exists():
            advice = "holds no noisy set: make one with `python -m sdxl corrupt`"
            if any(self.directory.glob("shard_*")) or (self.directory / "config.yaml").exists():
                advice = "is not finished: run the same `python -m sdxl corrupt` again"
            raise UserError(f"{self.directory} {advice}")
        self.manifest = set_manifest(self.directory)
        self.shards = [self._open_shard(shard) for shard in self.manifest.shards]
        self.ends = list(accumulate(shard.images for shard in self.manifest.shards))
        self.digest = self.manifest.digest

    def _open(self, name: str) -> Any:
        try:
            return safe_open(self.directory / name, "pt")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.directory / name} is missing or damaged; {REMEDY}") from error

    def _open_shard(self, shard: Shard) -> Any:
        opened = self._open(shard.file)
        if not set(ROWS) <= set(opened.keys()) or opened.get_slice("t_n").get_shape() != [shard.images]:
            raise UserError(f"{self.directory / shard.file} is damaged: it does not hold {shard.images} images; {REMEDY}")
        return opened

    def verify(self, *, rank: int = 0, size: int = 1) -> None:
        """Read the files of this rank's share. Raises: UserError if one of them has changed since it was written."""
        for name, expected in list(self.manifest.digests.items())[rank::size]:
            if digest((self.directory / name).read_bytes()) != expected:
                raise UserError(f"{self.directory / name} is damaged; {REMEDY}")

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def _place(self, index: int) -> tuple[Any, int]:
        """The shard that holds an image, and the row in it."""
        number = bisect_right(self.ends, index)
        return self.shards[number], index - (self.ends[number - 1] if number else 0)

    def rows(self, indices: list[int]) -> dict[str, Tensor]:
        """The ROWS of these images, each (B, ...): x_n in float32, t_n in float64."""
        places = [self._place(index) for index in indices]
        rows = {name: torch.cat([shard.get_slice(name)[row : row + 1] for shard, row in places]) for name in ROWS}
        return rows | {"x_n": rows["x_n"].float(), "t_n": rows["t_n"].double()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of ROWS, without the dimension of the images."""
        return {name: tuple(self.shards[0].get_slice(name).get_shape()[1:]) for name in ROWS}

    def levels(self) -> Tensor:
        """t_n of every image, (N,)."""
        return torch.cat([shard.get_tensor("t_n") for shard in self.shards]).double()

    @cached_property
    def labels(self) -> list[tuple[str, str]]:
        """Key and caption of every image. Raises: UserError for a damaged header."""
        labels = []
        for shard, opened in zip(self.manifest.shards, self.shards, strict=True):
            header = read_header(self.directory / shard.file, opened)
            if not len(header.keys) == len(header.captions) == shard.images:
                raise UserError(f"the header of {self.directory / shard.file} is not of {shard.images} images; {REMEDY}")
            labels += zip(header.keys, header.captions, strict=True)
        return labels

    def null(self) -> dict[str, Tensor]:
        """The embedding of no caption, each (1, ...)."""
        opened = self._open(NULL)
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
