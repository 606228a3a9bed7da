"""Writing the files of a noisy set: shards made by several processes, each skipped if it is there already, then a manifest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tqdm import tqdm

from harness import records
from harness.errors import UserError
from harness.files import digest
from sdxl.corrupt import noisy_set
from sdxl.corrupt.corruptor import Corruptor
from sdxl.corrupt.options import CorruptOptions
from sdxl.images.survey import SurveyedPicture, ahead
from sdxl.manifest import MANIFEST, NULL, Header, Identity, Manifest, Statistics, set_manifest, source_name
from sdxl.model.base import DTYPES, PARTS, Base
from sdxl.parallel import Group

RECIPE = 3  # the number of times that a change of this code has changed what it writes


class Shards:
    """The files of a set. Shard i holds the images i S to (i + 1) S - 1; its header says what it was made from, and its number.

    sizes: the shape of each row of one image.
    """

    def __init__(
        self,
        config: CorruptOptions,
        base: Base,
        vae: Base,
        pictures: list[SurveyedPicture],
        left_out: list[str],
        sizes: dict[str, tuple[int, ...]],
        group: Group,
    ):
        self.config, self.base, self.vae, self.left_out, self.group = config, base, vae, left_out, group
        self.pictures = pictures
        self.directory = Path(config.out)
        self.count = -(-len(pictures) // config.shard)
        self.bytes = len(pictures) * sum(torch.Size(size).numel() for size in sizes.values()) * DTYPES[config.dtype].itemsize
        self.identity = self._identity()
        self.mark = digest(records.to_json(self.identity).encode())

    def _identity(self) -> Identity:
        config, pictures = self.config, self.pictures
        columns = {
            "images": [[p.key, p.reading.digest] for p in pictures],
            "captions": [p.caption for p in pictures],
            "levels": [p.t_n for p in pictures],
        }
        known = self.base.identity("scheduler", *PARTS) | self.vae.identity("vae")
        ground = " on white" if any(p.reading.transparent for p in pictures) else ""
        return Identity(
            code=f"exact-ambient {version('exact-ambient')}, recipe {RECIPE}",
            data={"count": len(pictures), **{name: digest(json.dumps(column).encode()) for name, column in columns.items()}},
            t_n=config.level() if not config.level_column else "of each image",
            models={part: known[part] for part in ("vae", *PARTS)},
            **{name: known[name] for name in ("no_caption", "schedule", "prediction")},
            transform=f"RGB{ground}, shorter side to {config.resolution} by Lanczos, {config.crop} crop",
            seed=digest(str(config.seed).encode()),
            dtype=config.dtype,
            vae_dtype=config.vae_dtype,
            shard=config.shard,
        )

    def file(self, number: int) -> Path:
        """The file of a shard."""
        return self.directory / noisy_set.shard_name(number)

    def missing(self) -> tuple[list[int], bool]:
        """The shards that are missing, damaged or made from something else; and whether the set is sealed and whole.

        Raises: UserError for a shard with a number beyond the last.
        """
        strange = {file.name for file in self.directory.glob("shard_*")} - {self.file(i).name for i in range(self.count)}
        if strange:
            raise UserError(f"{self.directory / min(strange)} is not of this set, which has {self.count} shards; remove it")
        sealed: dict[str, str] = {}
        with contextlib.suppress(UserError):
            sealed = set_manifest(self.directory).digests
        wrong = [i for i in range(self.count) if not self._is_whole(self.file(i), sealed, f"{self.mark}/{i}")]
        return wrong, bool(sealed) and not wrong and self._is_whole(self.directory / NULL, sealed, None)

    def _is_whole(self, file: Path, sealed: dict[str, str], mark: str | None) -> bool:
        """Whether a file has this mark in its header, and the digest that the manifest lists if there is one."""
        if not file.exists() or (mark is not None and noisy_set.identity_of(file) != mark):
            return False
        return file.name not in sealed or digest(file.read_bytes()) == sealed[file.name]

    def make(self, stopping: Callable[[], bool]) -> bool:
        """Make the missing shards, one for each process at a time; whether any file was missing.

        Raises: Interrupted, in the first process, if one of them was asked to stop; the shards in work are lost.
        """
        todo, complete = self.group.by_main(self.missing)
        if complete:
            return False
        corruptor = self.group.together(lambda: Corruptor(self.config, self.base, self.vae, self.group.device))
        self.group.on_main(lambda: self._begin(corruptor))
        total, done = sum(len(self._images(number)) for number in todo), 0
        with tqdm(total=total, desc="corrupting", unit="image", disable=None if self.group.main else True) as bar:
            for now in self.group.split(todo):
                mine = now[self.group.rank : self.group.rank + 1]
                ended = self.group.together(lambda mine=mine: all(self._write(i, corruptor, stopping, bar) for i in mine))
                if not all(self.group.gather(ended)):
                    self.group.interrupt(f"{done} of {total} images are done")
                done += sum(len(self._images(number)) for number in now)
                bar.update(done - bar.n)
        return True

    def _begin(self, corruptor: Corruptor) -> None:
        """Write null.safetensors; remove half-written files of a killed process, and the manifest of a set that is not whole."""
        for file in (*self.directory.glob(".shard_*"), *self.directory.glob(".null*"), *self.directory.glob(".manifest*")):
            file.unlink()
        (self.directory / MANIFEST).unlink(missing_ok=True)
        noisy_set.write_tensors(self.directory / NULL, corruptor.null())
        self.group.say(*corruptor.text.warnings(p.caption for p in self.pictures))

    def _write(self, number: int, corruptor: Corruptor, stopping: Callable[[], bool], bar: Any) -> bool:
        """Make a shard. If asked to stop: write nothing, and return False."""
        pictures, rows = [self.pictures[i] for i in self._images(number)], []
        images = ahead(SurveyedPicture.open, pictures, self.config.batch)
        for picture, image in zip(pictures, images, strict=True):
            if stopping():
                return False
            rows.append(corruptor(picture, image))
            bar.update()
        stacked = {name: torch.cat([row[name] for row in rows]) for name in noisy_set.ROWS}
        header = Header(f"{self.mark}/{number}", tuple(p.key for p in pictures), tuple(p.caption for p in pictures))
        noisy_set.write_tensors(self.file(number), stacked, header)
        return True

    def _images(self, number: int) -> range:
        """The numbers of the images of a shard."""
        size = self.config.shard
        return range(number * size, min((number + 1) * size, len(self.pictures)))

    def statistics(self) -> dict[str, Statistics]:
        """The statistics of the noisy latents at each level."""
        sums: dict[int, list[float]] = {}
        for number in range(self.count):
            with safe_open(self.file(number), "pt") as opened:
                for row, index in enumerate(self._images(number)):
                    x_n = opened.get_slice("x_n")[row].double()
                    of_level = sums.setdefault(self.pictures[index].t_n, [0, 0, 0, 0])
                    for i, value in enumerate((1, x_n.numel(), float(x_n.sum()), float(x_n.square().sum()))):
                        of_level[i] += value
        return {
            str(t): Statistics(int(images), total / count, (squares / count - (total / count) ** 2) ** 0.5)
            for t, (images, count, total, squares) in sorted(sums.items())
        }

    def seal(self) -> None:
        """Write the manifest. Raises: UserError where a shard is not here."""
        lost, _ = self.missing()
        if lost:
            raise UserError(f"{self.file(lost[0])} is not here: do all processes see the folder {self.directory}?")
        config, captions = self.config, [p.caption for p in self.pictures]
        about = Manifest(
            vae=self.identity.models["vae"],
            schedule=self.identity.schedule,
            size=config.resolution,
            images=len(captions),
            captions={"with": sum(map(bool, captions)), "distinct": len(set(captions))},
            identity=self.identity,
            levels=self.statistics(),
            source=source_name(config.data),
            base=source_name(config.base),
            vae_name=config.vae and source_name(config.vae),
            left_out=tuple(self.left_out),
        )
        noisy_set.write_manifest(self.directory, about)
