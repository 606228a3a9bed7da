"""Frechet distance and KID of generated images to a reference, and both against t_n (Fig. 4).

    python -m sdxl evaluate fid --generated images --reference photos --out runs/fid
    python -m sdxl evaluate fid --generated plain_500 consistent_500 plain_800 consistent_800 --reference photos
    python -m sdxl evaluate fid --generated images --reference photos --extractor inception:weights-inception-2015-12-05.pth
    torchrun --nproc-per-node 8 -m sdxl evaluate fid ...

--generated: folders of `python -m sdxl generate`, or any folders of images. --reference: whatever `corrupt --data` takes. Writes
results.json, table.md, table.csv, distances.png. Features are kept, those of the reference too: the same command goes on where it
was stopped, and the next one starts from them. A distance is one of an extractor: never compare those of two. Beside them
stands a floor: the reference in two parts that share no image, as many in one as were generated, or as half of it has.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harness import records
from harness.errors import UserError
from harness.metrics import frechet
from harness.tables import markdown
from sdxl.evaluate import tables
from sdxl.evaluate.distances.figure import consistency, curves
from sdxl.evaluate.distances.measure import Floor, floor, kid, needed
from sdxl.evaluate.distances.options import DistanceOptions
from sdxl.evaluate.features.extractors import Extractor, find
from sdxl.evaluate.features.features import features
from sdxl.evaluate.results import Distance, Distances
from sdxl.images.folder import Images, opened
from sdxl.images.pictures import Columns
from sdxl.run_command import started

NOT_IDENTITY = ("out", "generated", "reference", "batch", "anyway", "dry_run")
NOTE = "Distances fall with the number of images: compare those of equal counts only, and with the floor, which is chance."

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
            group.on_main(lambda: report(config, identity, real, fake, sets))
        group.say((Path(config.out) / "table.md").read_text() + f"-> {config.out}")


def identity_of(config: DistanceOptions, reference: Images, sets: list[Images], extractor: Extractor) -> dict[str, Any]:
    """What the numbers depend on: images and weights by their content."""
    own = {key: value for key, value in asdict(config).items() if key not in NOT_IDENTITY}
    found = {"extractor_fingerprint": extractor.fingerprint, "reference": reference.about}
    return own | found | {"generated": [name | s.about for name, s in zip(names(sets), sets, strict=True)]}


def names(sets: list[Images]) -> list[dict[str, Any]]:
    """Of each a label, and how the LoRA was trained that made it: t_n and the weight of consistency, as its header says."""
    trained = [images.manifest.lora if images.manifest else None for images in sets]
    found = zip(tables.labels([images.source for images in sets]), trained, strict=True)
    return [{"name": name, "t_n": lora and lora.t_n, "weight": lora and lora.weight} for name, lora in found]


def check(config: DistanceOptions, reference: Images, sets: list[Images], width: int) -> None:
    """Raises: UserError for sets of another size than the reference's, and for too few images."""
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


def report(
    config: DistanceOptions, identity: dict[str, Any], real: torch.Tensor, fake: list[torch.Tensor], sets: list[Images]
) -> None:
    """Distances, tables and the figure."""
    rows: list[Distance] = []
    subsets: Any = {"subsets": config.kid_subsets, "size": config.kid_size, "seed": config.seed}
    for name, found in zip(names(sets), fake, strict=True):
        k, few = kid(real, found, **subsets), min(len(real), len(found)) < needed(real.shape[1])
        rows.append(Distance(
            **name, images=len(found), frechet=frechet(real, found), too_few_for_frechet=few, kid=k.mean, kid_std=k.std,
            kid_subsets=k.subsets, kid_size=k.size,
        ))  # fmt: skip
    floors = [floor(real, count, **subsets) for count in sorted({len(found) for found in fake})]
    results = Distances(
        config=tables.asked(config), identity=identity, features=real.shape[1], reference_images=len(real), rows=tuple(rows),
        floors=tuple(found for found in dict.fromkeys(floors) if found),
    )  # fmt: skip
    tables.write(Path(config.out), results, told(config, results), records.plain(rows))
    tables.save(curves(config.extractor, results), Path(config.out) / "distances.png")


def told(config: DistanceOptions, results: Distances) -> str:
    """The table for readers."""
    shown = [
        {
            "set": row.name,
            "t_n": "" if row.t_n is None else f"{row.t_n:g}",
            "consistency": consistency(row),
            "images": f"{row.images:,}",
            "Frechet distance": f"{row.frechet:.4g}" + (" *" if row.too_few_for_frechet else ""),
            "KID x 1000": f"{1000 * row.kid:.4g}" + (f" ({1000 * row.kid_std:.2g})" if row.kid_subsets > 1 else ""),
        }
        for row in results.rows
    ]
    shown += [_floor_told(row, results.features) for row in results.floors]
    few = f"\n\\* Fewer than {needed(results.features):,} images in a set: this number means little; look at KID."
    starred = any("*" in row["Frechet distance"] for row in shown)
    head = f"Extractor {config.extractor}, {results.features:,} features; {results.reference_images:,} reference images.\n\n"
    spread = " KID: mean (standard deviation) over random subsets." if any(row.kid_subsets > 1 for row in results.rows) else ""
    return f"{head}{markdown([shown[0], *(cells.values() for cells in shown)])}\n{NOTE}{spread}{few if starred else ''}\n"


def _floor_told(it: Floor, width: int) -> dict[str, str]:
    star = " *" if it.images < needed(width) else ""
    return {
        "set": f"floor: {it.images:,} of the reference to the other {it.others:,}", "t_n": "", "consistency": "",
        "images": f"{it.images:,}", "Frechet distance": f"{it.frechet:.4g} ({it.frechet_std:.2g}){star}",
        "KID x 1000": f"{1000 * it.kid:.4g}",
    }  # fmt: skip
