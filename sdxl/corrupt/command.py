"""Turn images and captions into noisy latents on disk, once: this is the only command that sees a clean image.

    python -m sdxl corrupt --data photos --t-n 500 --out noisy            a folder of images, with metadata.jsonl
    python -m sdxl corrupt --data photos --level-column t_n --out noisy   each image at its own level, 0 for a clean one
    python -m sdxl corrupt --data photos --t-n 500 --out noisy --dry-run  read all images, print what would be done
    torchrun --nproc-per-node 8 -m sdxl corrupt --data photos --t-n 500 --out noisy

The noise of an image follows from the seed and the image's key, and is drawn once: the files are the same for any number of
processes. The same command continues where it was stopped, and replaces a damaged file of a set. Clean latents are never written.
Whoever knows the seed can draw the noise again and subtract it. Before you give a noisy set away, take a seed that nobody can
guess: a random number of 128 bits.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

from harness.errors import UserError
from harness.wording import few, several
from sdxl.corrupt.noisy_set import describe_levels
from sdxl.corrupt.options import FEWEST, CorruptOptions
from sdxl.corrupt.shards import Shards
from sdxl.images.pictures import Columns, Picture, pictures
from sdxl.images.survey import SurveyedPicture, refuse_unreadable, survey
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
        group.together(lambda: refuse_full_disk(config, shards))
        with group.run(config.out, shards.identity) as (_, stopping):
            if shards.make(stopping):
                group.on_main(shards.seal)
            else:
                group.say(f"{config.out} is complete; every file was read, and is whole")
        group.say(*summary(config, shards))


def prepare(config: CorruptOptions, group: Group) -> Shards:
    """The files of the set, with everything read and checked and nothing written."""
    base, vae = group.together(lambda: find_with_vae(config.base, config.vae, parts=(*PARTS, "scheduler")))
    sizes = group.together(lambda: shapes(base, vae, config.resolution))
    surveyed = survey(group.together(lambda: listed(config, base, group)), group, config.batch)
    usable = group.together(lambda: without_faults(surveyed, config))
    left_out = [f"{p.key} {p.reading.fault}" for p in surveyed if p.reading.fault]
    if left_out:
        group.say(f"left out {len(left_out)} of {len(surveyed)} images, which cannot be read: {few(left_out, 20)}")
    copies = repeated(usable)
    if copies:
        names = f"{several(len(copies), 'image')} under several names ({few(copies)})"
        leak = f"{names}; each copy gets noise of its own, and their mean has less of it"
        group.end_if([] if config.keep_duplicates else [f"{leak}; remove the copies, or go on with --keep-duplicates"])
        group.say(f"warning: {leak}")
    if len(usable) < FEWEST:
        group.say(f"warning: {several(len(usable), 'image')}; the paper reports that it did not work on fewer than {FEWEST}")
    return group.together(lambda: Shards(config, base, vae, usable, left_out, sizes, group))


def listed(config: CorruptOptions, base: Base, group: Group) -> list[Picture]:
    """The images, not yet read. Raises: UserError for levels off the schedule, and for fewer images than processes."""
    columns = Columns(config.split, config.image_column, config.caption_column, config.key_column, config.level_column)
    chosen = pictures(config.data, columns, caption=config.caption, t_n=config.level(), count=config.images, say=group.say)
    last = base.last_noisy_time()
    off = [f"{p.t_n} for {p.key}" for p in chosen if not 0 <= p.t_n <= last]
    if off:
        pure = "" if last == base.path().t_max else f" ({last + 1} is pure noise)"
        raise UserError(f"t_n must be one of the schedule's times 1 .. {last}{pure}, or 0 for a clean image; got {few(off)}")
    group.employ(len(chosen), config.data)
    return chosen


def without_faults(surveyed: list[SurveyedPicture], config: CorruptOptions) -> list[SurveyedPicture]:
    """The images that can be read. Raises: UserError for others, unless --skip-unreadable leaves them out; for small images."""
    usable = [p for p in surveyed if not p.reading.fault]
    if not config.skip_unreadable:
        refuse_unreadable(surveyed, config.data, "mend them, or leave them out with --skip-unreadable")
    elif not usable:
        refuse_unreadable(surveyed, config.data, "none is left")
    small = [p for p in usable if min(p.reading.size) < config.resolution]
    if small and not config.upscale:
        sizes = [f"{p.key} {p.reading.size[1]}x{p.reading.size[0]}" for p in small]
        least = min(min(p.reading.size) for p in small)
        raise UserError(
            f"{len(small)} of {len(usable)} images are smaller than {config.resolution} pixels ({few(sizes)}); remove them, "
            f"enlarge them with --upscale, or take --resolution {least // 8 * 8}"
        )
    return usable


def repeated(surveyed: list[SurveyedPicture]) -> list[str]:
    """The keys of each image whose bytes are there under several keys, joined by =."""
    keys: dict[str, list[str]] = {}
    for picture in surveyed:
        keys.setdefault(picture.reading.digest, []).append(picture.key)
    return [" = ".join(same) for same in keys.values() if len(same) > 1]


def plan(config: CorruptOptions, shards: Shards) -> list[str]:
    """The lines that --dry-run prints."""
    size, idle = shards.group.size, max(0, shards.group.size - shards.count)
    return [
        *(f"{key}: {value}" for key, value in asdict(config).items()),
        *(f"{key}: {getattr(shards.identity, key)}" for key in ("transform", "models", "no_caption", "schedule", "code")),
        f"images: {len(shards.pictures):,}, {describe_levels(p.t_n for p in shards.pictures)}",
        f"writes: {several(shards.count, 'shard')}, {shards.bytes / 1e9:.3g} GB",
        f"processes: {size} on {shards.group.device.type}{f'; {idle} will have nothing to do: lower --shard' if idle else ''}",
    ]


def refuse_full_disk(config: CorruptOptions, shards: Shards) -> None:
    """Raises: UserError if the disk has no room for the set."""
    out = Path(config.out).absolute()
    free = shutil.disk_usage(next(path for path in (out, *out.parents) if path.is_dir())).free
    missing = shards.bytes - sum(file.stat().st_size for file in out.glob("shard_*.safetensors"))
    if missing > free:
        raise UserError(
            f"{config.out} needs {missing / 1e9:.3g} GB more, and {free / 1e9:.3g} GB are free there; choose another --out, or "
            "--dtype bfloat16, which takes half"
        )


def summary(config: CorruptOptions, shards: Shards) -> list[str]:
    """Two lines: what was written, and the command that trains on it."""
    size = sum(shards.file(number).stat().st_size for number in range(shards.count))
    written = f"{several(len(shards.pictures), 'image')} in {several(shards.count, 'shard')}, {size / 1e6:,.1f} MB"
    vae = ["--vae", config.vae] if config.vae else []
    return [
        f"{written}, {describe_levels(p.t_n for p in shards.pictures)} -> {config.out}",
        f"next: python -m sdxl train {shlex.join(['--data', config.out, '--base', config.base, *vae])}",
    ]
