"""A set of noisy latents on disk: what `corrupt` writes, once, and all that `train` ever sees of the data.

    config.yaml              what it was made from: sources by their hash, VAE, schedule, transform, seed
    shard_00000.safetensors  x_n (N, 4, h, w), t_n (N,), prompt_embeds (N, 77, C), pooled (N, P), time_ids (N, 6)
    ...                      and in the header: keys and captions of the N images
    null.safetensors         the embedding of no caption: prompt_embeds (1, 77, C), pooled (1, P)
    manifest.json            written last: shards with their digests and sizes, and a digest of it all

Shards are mapped into memory, so that a row costs no more than its bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
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
from sdxl.manifest import MANIFEST, MEND, NULL, Header, Manifest, Shard, read_header, set_manifest

ROWS = ("x_n", "t_n", "prompt_embeds", "pooled", "time_ids")
CONDITION = ("prompt_embeds", "pooled", "time_ids")


def shard_name(number: int) -> str:
    return f"shard_{number:05d}.safetensors"


def write_shard(file: Path, rows: dict[str, Tensor], header: Header) -> None:
    """Whole or not at all."""
    about = {"about": records.to_json(header)}  # one entry: safetensors shuffles several
    write_atomically(file, save({name: value.contiguous() for name, value in rows.items()}, metadata=about))


def write_null(directory: Path, condition: dict[str, Tensor]) -> None:
    """The embedding of no caption, of one sample."""
    write_atomically(directory / NULL, save({name: value.contiguous() for name, value in condition.items()}))


def identity_of(file: Path) -> str | None:
    """What a shard says it was made from; None for a damaged one."""
    try:
        with safe_open(file, "pt") as opened:
            return read_header(file, opened).identity
    except (SafetensorError, OSError, UserError):
        return None


def write_manifest(directory: Path, about: Manifest) -> None:
    """Seal the set with the manifest, to which its files are added."""
    files = sorted(directory.glob("shard_*.safetensors"))
    shards = tuple(Shard(file.name, digest(file.read_bytes()), _count(file)) for file in files)
    whole = replace(about, shards=shards, null=digest((directory / NULL).read_bytes()))
    records.write(directory / MANIFEST, replace(whole, digest=whole.content))


def _count(file: Path) -> int:
    with safe_open(file, "pt") as opened:
        return opened.get_slice("t_n").get_shape()[0]


class NoisySet:
    """The images of a set by number, in the order in which they were written.

    Raises: UserError if the folder holds no finished set, or one of another format.
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
        self.headers = dict[int, Header]()

    def _open(self, name: str) -> Any:
        try:
            return safe_open(self.directory / name, "pt")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.directory / name} is missing or damaged; {MEND}") from error

    def _open_shard(self, shard: Shard) -> Any:
        opened = self._open(shard.file)
        if not set(ROWS) <= set(opened.keys()) or opened.get_slice("t_n").get_shape() != [shard.images]:
            raise UserError(f"{self.directory / shard.file} is damaged: it does not hold {shard.images} images; {MEND}")
        return opened

    def verify(self, *, rank: int = 0, size: int = 1) -> None:
        """Read every file, or one in `size`. Raises: UserError if it has changed since it was written."""
        for name, expected in list(self.manifest.digests.items())[rank::size]:
            if digest((self.directory / name).read_bytes()) != expected:
                raise UserError(f"{self.directory / name} is damaged; {MEND}")

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def _where(self, index: int) -> tuple[Any, int]:
        number = bisect_right(self.ends, index)
        return self.shards[number], index - (self.ends[number - 1] if number else 0)

    def rows(self, indices: list[int]) -> dict[str, Tensor]:
        """ROWS of the images, each (B, ...): x_n in float32, t_n in float64."""
        found = [self._where(index) for index in indices]
        rows = {name: torch.cat([shard.get_slice(name)[row : row + 1] for shard, row in found]) for name in ROWS}
        return rows | {"x_n": rows["x_n"].float(), "t_n": rows["t_n"].double()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each of ROWS, of one image."""
        return {name: tuple(self.shards[0].get_slice(name).get_shape()[1:]) for name in ROWS}

    def levels(self) -> Tensor:
        """t_n of every image, (N,)."""
        return torch.cat([shard.get_tensor("t_n") for shard in self.shards]).double()

    def header(self, index: int) -> tuple[Header, int]:
        """Of the shard of an image, and the image's row. Raises: UserError for a damaged one."""
        number = bisect_right(self.ends, index)
        if number not in self.headers:
            file = self.manifest.shards[number]
            found = read_header(self.directory / file.file, self.shards[number])
            if not len(found.keys) == len(found.captions) == file.images:
                raise UserError(f"the header of {self.directory / file.file} is not of {file.images} images; {MEND}")
            self.headers[number] = found
        return self.headers[number], self._where(index)[1]

    def key(self, index: int) -> str:
        """The name of an image."""
        header, row = self.header(index)
        return header.keys[row]

    def caption(self, index: int) -> str:
        header, row = self.header(index)
        return header.captions[row]

    def null(self) -> dict[str, Tensor]:
        """The embedding of no caption, of one sample."""
        opened = self._open(NULL)
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
