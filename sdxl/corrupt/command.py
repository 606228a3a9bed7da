"""Images and captions to noisy latents on disk, once: the only command that sees a clean image.

    python -m sdxl corrupt --data photos --t-n 500 --out noisy            a folder of images, with metadata.jsonl
    python -m sdxl corrupt --data photos --level-column t_n --out noisy   each image at its own level, 0 for a clean one
    python -m sdxl corrupt --data photos --t-n 500 --out noisy --dry-run  read it all, say what would be done
    torchrun --nproc-per-node 8 -m sdxl corrupt --data photos --t-n 500 --out noisy

The noise of an image follows from the seed and the image's key, and is drawn once: the files are the same for any number of
processes. The same command goes on where it was stopped, and mends a set with a damaged file. Clean latents are never written.
But who knows the seed can draw the noise again and subtract it. Before you hand a noisy set on, take a seed that nobody guesses:
a random number of 128 bits.
"""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from harness.errors import UserError
from harness.wording import few, several
from sdxl.corrupt.options import FEWEST, CorruptOptions
from sdxl.corrupt.shards import Shards
from sdxl.images.pictures import Columns, Picture, pictures
from sdxl.images.survey import repeated, survey, usable
from sdxl.manifest import Manifest
from sdxl.model.base import PARTS, Base, find_with_vae, shapes
from sdxl.parallel import Group
from sdxl.run_command import started

OPTIONS = CorruptOptions


def main(argv: list[str]) -> None:
    """Make the noisy set that `argv` describes."""
    with started(OPTIONS, argv, "corrupt", __doc__) as (config, group):
        shards = prepare(config, group)
        if config.dry_run:
            return group.say(*plan(config, shards))
        group.together(lambda: room(config, shards))
        with group.run(config.out, shards.identity) as (_, stopping):
            if shards.make(stopping):
                group.on_main(lambda: shards.seal(lambda: manifest(config, shards)))
            else:
                group.say(f"{config.out} is complete; every file was read, and is whole")
        group.say(*summary(config, shards))


def prepare(config: CorruptOptions, group: Group) -> Shards:
    """Everything read and checked, nothing written."""
    base, vae = group.together(lambda: find_with_vae(config.base, config.vae, parts=(*PARTS, "scheduler")))
    sizes = group.together(lambda: shapes(base, vae, config.resolution))
    pictures = group.together(lambda: checked(config, base, group))
    seen = survey(pictures, group, config.batch)
    smallest = 1 if config.upscale else config.resolution
    kept = group.together(lambda: usable(pictures, seen, smallest=smallest, skip=config.skip_unreadable))
    left_out = [f"{p.key} {s.fault}" for p, s in zip(pictures, seen, strict=True) if s.fault]
    if left_out:
        group.say(f"left out {len(left_out)} of {len(pictures)} images, which cannot be read: {few(left_out, 20)}")
    twice = repeated(pictures, seen, kept)
    if twice:
        leak = f"{twice}; each copy gets noise of its own, and their mean has less of it"
        group.end_if([] if config.keep_duplicates else [f"{leak}; remove the copies, or go on with --keep-duplicates"])
        group.say(f"warning: {leak}")
    if len(kept) < FEWEST:
        group.say(f"warning: {several(len(kept), 'image')}; the paper reports that it did not work on fewer than {FEWEST}")
    chosen, white = [(pictures[i], seen[i].digest) for i in kept], any(seen[i].transparent for i in kept)
    return group.together(lambda: Shards(config, base, vae, chosen, left_out, sizes, group, white=white))


def checked(config: CorruptOptions, base: Base, group: Group) -> list[Picture]:
    """The images, unread. Raises: UserError for levels off the schedule, and for fewer images than processes."""
    columns = Columns(config.split, config.image_column, config.caption_column, config.key_column, config.level_column)
    found = pictures(config.data, columns, caption=config.caption, t_n=config.level(), count=config.images, say=group.say)
    last = base.noisiest()
    off = [f"{p.t_n} for {p.key}" for p in found if not 0 <= p.t_n <= last]
    if off:
        pure = "" if last == base.path().t_max else f" ({last + 1} is pure noise)"
        raise UserError(f"t_n must be one of the schedule's times 1 .. {last}{pure}, or 0 for a clean image; got {few(off)}")
    group.employ(len(found), config.data)
    return found


def plan(config: CorruptOptions, shards: Shards) -> list[str]:
    """The resolved plan: what --dry-run prints."""
    many, idle = shards.group.size, max(0, shards.group.size - shards.count)
    return [
        *(f"{key}: {value}" for key, value in asdict(config).items()),
        *(f"{key}: {getattr(shards.identity, key)}" for key in ("transform", "models", "no_caption", "schedule", "code")),
        f"images: {len(shards.pictures):,}, {levels(shards.pictures)}",
        f"writes: {several(shards.count, 'shard')}, {shards.bytes / 1e9:.3g} GB",
        f"processes: {many} on {shards.group.device.type}{f'; {idle} will have nothing to do: lower --shard' if idle else ''}",
    ]


def levels(pictures: list[Picture]) -> str:
    """How many images there are at which level."""
    found = Counter(p.t_n for p in pictures)
    return few([f"{found[t]:,} at t_n = {t}" for t in sorted(found)], 6)


def room(config: CorruptOptions, shards: Shards) -> None:
    """Raises: UserError if the disk is too small."""
    folder = next(path for path in (Path(config.out).absolute(), *Path(config.out).absolute().parents) if path.is_dir())
    there = sum(file.stat().st_size for file in Path(config.out).glob("shard_*.safetensors"))
    free = shutil.disk_usage(folder).free
    if shards.bytes - there > free:
        raise UserError(
            f"{config.out} needs {(shards.bytes - there) / 1e9:.3g} GB more, and {free / 1e9:.3g} GB are free there; choose "
            "another --out, or --dtype bfloat16, which takes half"
        )


def manifest(config: CorruptOptions, shards: Shards) -> Manifest:
    """What is known of the set, beside its files."""
    captions, identity = [p.caption for p in shards.pictures], shards.identity
    return Manifest(
        vae=identity.models["vae"],
        schedule=identity.schedule,
        size=config.resolution,
        images=len(captions),
        captions={"with": sum(map(bool, captions)), "distinct": len(set(captions))},
        identity=identity,
        levels=shards.statistics(),
        source=config.data and _named(config.data),
        base=_named(config.base),
        vae_name=config.vae and _named(config.vae),
        left_out=tuple(shards.left_out),
    )


def _named(source: str) -> str:
    """A folder by its name, not by where it lies."""
    return Path(source).name if Path(source).is_dir() else source


def summary(config: CorruptOptions, shards: Shards) -> list[str]:
    """What was made, and what is next."""
    size = sum(shards.file(number).stat().st_size for number in range(shards.count))
    images = several(len(shards.pictures), "image")
    vae = ["--vae", config.vae] if config.vae else []
    return [
        f"{images} in {several(shards.count, 'shard')}, {size / 1e6:,.1f} MB, {levels(shards.pictures)} -> {config.out}",
        f"next: python -m sdxl train {shlex.join(['--data', config.out, '--base', config.base, *vae])}",
    ]
