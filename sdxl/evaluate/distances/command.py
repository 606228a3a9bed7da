"""Frechet distance and KID of generated images to a reference, and both against t_n (Fig. 4).

    python -m sdxl evaluate fid --generated images --reference photos --out runs/fid
    python -m sdxl evaluate fid --generated plain_500 consistent_500 plain_800 consistent_800 --reference photos
    python -m sdxl evaluate fid --generated images --reference photos --extractor inception:weights-inception-2015-12-05.pth
    torchrun --nproc-per-node 8 -m sdxl evaluate fid ...

--generated: folders of `python -m sdxl generate`, or any folders of images. --reference: whatever `corrupt --data` takes. Writes
results.json, table.md, table.csv, distances.png. Features are kept on disk, those of the reference too: the same command resumes
where it was stopped, and later commands reuse them. Distances of two extractors cannot be compared. The floor of a distance is
that of the reference to itself, in two parts without a common image: one part has as many images as a generated set, or half of
the reference if that is less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from harness import records
from harness.errors import UserError
from harness.metrics import frechet
from harness.tables import markdown
from sdxl.evaluate import tables
from sdxl.evaluate.distances import table
from sdxl.evaluate.distances.measure import floor, kid, needed
from sdxl.evaluate.distances.options import DistanceOptions
from sdxl.evaluate.features.extractors import Extractor, find
from sdxl.evaluate.features.features import features
from sdxl.evaluate.results import Distance, Distances
from sdxl.images.folder import Images, opened
from sdxl.images.pictures import Columns
from sdxl.images.sheets import save
from sdxl.run_command import started

NOT_IDENTITY = ("out", "generated", "reference", "batch", "anyway", "dry_run")

OPTIONS = DistanceOptions


def main(argv: list[str]) -> None:
    """Measure the distances that `argv` asks for."""
    with started(OPTIONS, argv, "evaluate fid", __doc__) as (config, group):
        extractor = group.together(lambda: find(config.extractor, group.device))
        columns = Columns(config.split, config.image_column, caption="")
        reference = opened(config.reference, group, columns=columns, resolution=config.resolution)
        sets = [opened(name, group, resolution=config.resolution, count=config.images) for name in config.generated]
        width = group.by_main(lambda: extractor(reference[0][None]).shape[1])
        identity = identity_of(config, reference, sets, extractor)
        group.together(lambda: check(config, reference, sets, width))
        if config.dry_run:
            return group.say(*(f"{key}: {value}" for key, value in identity.items()), f"features: {width}")
        with group.results(config.out, identity) as stopping:
            real, *fake = [features(s, extractor, group, batch=config.batch, stopping=stopping) for s in (reference, *sets)]
            group.on_main(lambda: write(config, results_of(config, identity, real, fake)))
        group.say((Path(config.out) / "table.md").read_text() + f"-> {config.out}")


def identity_of(config: DistanceOptions, reference: Images, sets: list[Images], extractor: Extractor) -> dict[str, Any]:
    """What the numbers depend on: options, images and weights by their content, and the training of the LoRA behind each set."""
    own = config.without(*NOT_IDENTITY)
    generated = []
    for name, images in zip(tables.labels([images.source for images in sets]), sets, strict=True):
        made = images.manifest
        lora, stop = (made.lora, made.config.get("stop")) if made else (None, None)
        generated.append({"name": name, "t_n": lora and lora.t_n, "weight": lora and lora.weight, "stop": stop} | images.about)
    return own | {"extractor_fingerprint": extractor.fingerprint, "reference": reference.about, "generated": generated}


def check(config: DistanceOptions, reference: Images, sets: list[Images], width: int) -> None:
    """Raises: UserError if a set has too few images, images of the reference, or another size than those."""
    for images in sets:
        if images.size != reference.size:
            (high, wide), (height, across) = images.size, reference.size
            raise UserError(
                f"{images.source} has images of {wide}x{high} pixels and {config.reference} of {across}x{height}; "
                "give one --resolution for both"
            )
        if set(images.digests) <= set(reference.digests):
            raise UserError(f"all images of {images.source} are among those of {config.reference}: that compares it with itself")
    for images in (reference, *sets):
        if len(images) < 2:
            raise UserError(f"{images.source} has one image; a distance needs at least 2, and Frechet's {needed(width):,}")
        if len(images) < needed(width) and not config.anyway:
            raise UserError(
                f"the Frechet distance of {width:,} features needs at least {needed(width):,} images a set, and "
                f"{images.source} has {len(images):,}; add more, or take --anyway and look at KID alone"
            )


def results_of(config: DistanceOptions, identity: dict[str, Any], real: Tensor, fake: list[Tensor]) -> Distances:
    """The distances of features `fake`, one tensor (N, F) for each set, from features `real` (M, F)."""
    rows: list[Distance] = []
    subsets: Any = {"subsets": config.kid_subsets, "size": config.kid_size, "seed": config.seed}
    for about, made in zip(identity["generated"], fake, strict=True):
        model = {key: about[key] for key in ("name", "t_n", "weight", "stop")}
        k, few = kid(real, made, **subsets), min(len(real), len(made)) < needed(real.shape[1])
        rows.append(Distance(
            **model, images=len(made), frechet=frechet(real, made), too_few_for_frechet=few, kid=k.mean, kid_std=k.std,
            kid_subsets=k.subsets, kid_size=k.size,
        ))  # fmt: skip
    floors = [floor(real, count, **subsets) for count in sorted({len(made) for made in fake})]
    return Distances(
        config=tables.recorded(config), identity=identity, features=real.shape[1], reference_images=len(real), rows=tuple(rows),
        floors=tuple(of for of in dict.fromkeys(floors) if of),
    )  # fmt: skip


def write(config: DistanceOptions, results: Distances) -> None:
    """Write results.json, the tables and the figure."""
    shown, out = markdown(table.rows(results)), Path(config.out)
    notes = [table.NOTE]
    notes += [table.SPREAD] if any(row.kid_subsets > 1 for row in results.rows) else []
    notes += [table.TOO_FEW] if " * |" in shown else []
    head = f"Extractor {config.extractor}, {results.features:,} features; {results.reference_images:,} reference images."
    tables.write(out, results, "\n\n".join([head, shown + "\n" + "\n".join(notes)]) + "\n", records.plain(results.rows))
    save(table.curves(config.extractor, results), out / "distances.png")
