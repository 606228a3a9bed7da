"""The files of a noisy set: which are still to be made, made by several processes, sealed by a manifest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from harness import records
from harness.errors import Interrupted, UserError
from harness.files import digest
from sdxl.corrupt import noisy_set
from sdxl.corrupt.corruptor import Corruptor
from sdxl.corrupt.options import CorruptOptions
from sdxl.images.pictures import Picture
from sdxl.images.survey import ahead, decode
from sdxl.manifest import MANIFEST, NULL, Header, Identity, Manifest, Statistics, set_manifest
from sdxl.model.base import DTYPES, PARTS, Base
from sdxl.parallel import Group

RECIPE = 3  # counts changes of the code that change what is written


class Shards:
    """Shard i holds images [i S, (i + 1) S). Each says in its header what it was made from, and which one it is."""

    def __init__(
        self,
        config: CorruptOptions,
        base: Base,
        vae: Base,
        chosen: list[tuple[Picture, str]],
        left_out: list[str],
        sizes: dict[str, tuple[int, ...]],
        group: Group,
        *,
        white: bool = False,
    ):
        self.ground = " on white" if white else ""  # of images with transparent parts
        self.config, self.base, self.vae, self.left_out, self.group = config, base, vae, left_out, group
        self.pictures, self.digests = [picture for picture, _ in chosen], [found for _, found in chosen]
        self.directory = Path(config.out)
        self.count = -(-len(chosen) // config.shard)
        self.bytes = len(chosen) * sum(torch.Size(size).numel() for size in sizes.values()) * DTYPES[config.dtype].itemsize
        self.identity = self._identity()
        self.mark = digest(records.to_json(self.identity).encode())

    def _identity(self) -> Identity:
        config, pictures = self.config, self.pictures
        of = {
            "images": [[p.key, found] for p, found in zip(pictures, self.digests, strict=True)],
            "captions": [p.caption for p in pictures],
            "levels": [p.t_n for p in pictures],
        }
        known = self.base.identity("scheduler", *PARTS) | self.vae.identity("vae")
        return Identity(
            code=f"exact-ambient {version('exact-ambient')}, recipe {RECIPE}",
            data={"count": len(pictures), **{name: digest(json.dumps(rows).encode()) for name, rows in of.items()}},
            t_n=config.level() if not config.level_column else "of each image",
            models={part: known[part] for part in ("vae", *PARTS)},
            **{name: known[name] for name in ("no_caption", "schedule", "prediction")},
            transform=f"RGB{self.ground}, shorter side to {config.resolution} by Lanczos, {config.crop} crop",
            seed=digest(str(config.seed).encode()),
            dtype=config.dtype,
            vae_dtype=config.vae_dtype,
            shard=config.shard,
        )

    def file(self, number: int) -> Path:
        return self.directory / noisy_set.shard_name(number)

    def missing(self) -> tuple[list[int], bool]:
        """The shards still to be made: missing, damaged, or of something else; and whether the set is sealed and whole.

        Raises: UserError for shards that would be beyond the last.
        """
        strange = {file.name for file in self.directory.glob("shard_*")} - {self.file(i).name for i in range(self.count)}
        if strange:
            raise UserError(f"{self.directory / min(strange)} is not of this set, which has {self.count} shards; remove it")
        sealed: dict[str, str] = {}
        with contextlib.suppress(UserError):
            sealed = set_manifest(self.directory).digests
        wrong = [i for i in range(self.count) if not self._whole(self.file(i), sealed, f"{self.mark}/{i}")]
        return wrong, bool(sealed) and not wrong and self._whole(self.directory / NULL, sealed, None)

    def _whole(self, file: Path, sealed: dict[str, str], mark: str | None) -> bool:
        if not file.exists() or (mark is not None and noisy_set.identity_of(file) != mark):
            return False
        return file.name not in sealed or digest(file.read_bytes()) == sealed[file.name]

    def make(self, stopping: Callable[[], bool]) -> bool:
        """Make what is missing; whether anything was. A round is one shard for each process, so that no failure waits long.

        Raises: Interrupted, in the first process, if one of them was asked to stop.
        """
        todo, whole = self.group.by_main(self.missing)
        if whole:
            return False
        corruptor = self.group.together(lambda: Corruptor(self.config, self.base, self.vae, self.group.device))
        self.group.on_main(lambda: self._prepare(corruptor))
        total, done = sum(len(self._part(number)) for number in todo), 0
        with tqdm(total=total, desc="corrupting", unit="image", disable=None if self.group.main else True) as bar:
            for start in range(0, len(todo), self.group.size):
                now = todo[start : start + self.group.size]
                mine = now[self.group.rank : self.group.rank + 1]
                ended = self.group.together(lambda mine=mine: all(self._write(i, corruptor, stopping, bar) for i in mine))
                if not all(self.group.gather(ended)):
                    raise Interrupted(f"{done} of {total} images are done") if self.group.main else SystemExit(130)
                done += sum(len(self._part(number)) for number in now)
                bar.update(done - bar.n)
        return True

    def _prepare(self, corruptor: Corruptor) -> None:
        """Away with what a killed process has left, and with the seal of a set that is not whole; null.safetensors."""
        for file in (*self.directory.glob(".shard_*"), *self.directory.glob(".null*"), *self.directory.glob(".manifest*")):
            file.unlink()
        (self.directory / MANIFEST).unlink(missing_ok=True)
        noisy_set.write_null(self.directory, corruptor.null())
        cut = corruptor.text.cut(sorted({p.caption for p in self.pictures}))
        if cut:
            self.group.say(
                f"warning: {len(cut)} captions are longer than the text encoders read, and are cut (first: {cut[0][:60]}...)"
            )

    def _write(self, number: int, corruptor: Corruptor, stopping: Callable[[], bool], bar: Any) -> bool:
        """Make a shard; False, and nothing written, if asked to stop."""
        numbers, rows = self._part(number), []
        for i, image in zip(numbers, ahead(self._open, numbers, self.config.batch), strict=True):
            if stopping():
                return False
            rows.append(corruptor(self.pictures[i], image))
            bar.update()
        stacked = {name: torch.cat([row[name] for row in rows]) for name in noisy_set.ROWS}
        keys, captions = (tuple(getattr(self.pictures[i], name) for i in numbers) for name in ("key", "caption"))
        noisy_set.write_shard(self.file(number), stacked, Header(f"{self.mark}/{number}", keys, captions))
        return True

    def _open(self, index: int) -> Any:
        """The image, as it was when all were read."""
        payload = self.pictures[index].read()
        if digest(payload) != self.digests[index]:
            raise UserError(f"{self.pictures[index].key} has changed since the command began; run it again")
        return decode(payload)

    def _part(self, number: int) -> range:
        size = self.config.shard
        return range(number * size, min((number + 1) * size, len(self.pictures)))

    def statistics(self) -> dict[str, Statistics]:
        """Of the noisy latents, by level."""
        sums: dict[int, list[float]] = {}
        for number in range(self.count):
            with noisy_set.safe_open(self.file(number), "pt") as opened:
                for row, index in enumerate(self._part(number)):
                    x_n = opened.get_slice("x_n")[row].double()
                    found = sums.setdefault(self.pictures[index].t_n, [0, 0, 0, 0])
                    for i, value in enumerate((1, x_n.numel(), float(x_n.sum()), float(x_n.square().sum()))):
                        found[i] += value
        return {
            str(t): Statistics(int(images), total / count, (squares / count - (total / count) ** 2) ** 0.5)
            for t, (images, count, total, squares) in sorted(sums.items())
        }

    def seal(self, about: Callable[[], Manifest]) -> None:
        """Write the manifest. Raises: UserError where a shard is not here."""
        lost, _ = self.missing()
        if lost:
            raise UserError(f"{self.file(lost[0])} is not here: do all processes see the folder {self.directory}?")
        noisy_set.write_manifest(self.directory, about())
