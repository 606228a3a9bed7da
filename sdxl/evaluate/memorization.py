"""Does a model give back its training images? Similarity to the nearest one, beside what it is for images that are no copies.

    python -m sdxl evaluate memorization --images attacked --training photos --held-out others --out memory
    python -m sdxl evaluate memorization --images clean noisy --training photos ...    paired, image by image: Fig. 8
    python -m sdxl evaluate memorization --images generated --training photos ...      plain samples: the Somepalli baseline

`--images` are folders of `attack noise`, of `generate`, or of any images of one size; training images are resized and cropped to
that size. Similarity is the cosine of features, as the paper's thresholds .9 and .95 have it for DINOv2; with another extractor
look at the baselines before you trust a threshold. Writes results.json, table.md, histograms.png, matches.png (the images that
lie nearest, each beside the training image that was found). Paper: Sec. 4.1, 4.4, Figs. 3, 8, 9, 10.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ambient.config import option, parse
from ambient.runs import stop_requests, write_atomically
from sdxl.base import quiet
from sdxl.evaluate.matches import Found, Sets, draw, measure, table
from sdxl.extract import find
from sdxl.group import Group


@dataclass(frozen=True)
class Config:
    """What is compared with what."""

    out: str = option("runs/memorization", "folder of the results", metavar="DIR")
    images: tuple[str, ...] = option((), "folders of images, one for each model", metavar="DIR")
    training: str = option("", "what the models were trained on: a folder, a dataset on the hub, or the word photographs")
    training_split: str = option("", "of it (default: train, or its only one)", metavar="SPLIT")
    held_out: str | None = option(None, "images of the same kind that no model has seen", metavar="DATA")
    held_out_split: str = option("", "of them; held_out of the photographs", metavar="SPLIT")
    extractor: str = option("dinov2", "what sees the images: dinov2[:SOURCE], clip:SOURCE, module:PACKAGE.MODULE:FUNCTION, tiny")
    top: int = option(16, "matches shown", metavar="COUNT")
    seed: int = option(0, "the bootstrap follows from it")
    batch: int = option(16, "images at a time in the extractor", metavar="COUNT")
    dry_run: bool = option(False, "read the images, print the plan, and leave")

    def __post_init__(self) -> None:
        if not self.images or not self.training:
            raise ValueError("--images and --training are both needed: folders of images, and what the models were trained on")
        names = [Path(folder).name for folder in self.images]
        if len(set(names)) < len(names):
            raise ValueError(f"folders of --images need names of their own; got {', '.join(names)}")
        if self.top < 1 or self.batch < 1:
            raise ValueError("--top and --batch must be at least 1")


def main(argv: list[str]) -> None:
    """Compare as `argv` says."""
    config = parse(Config, argv, prog="python -m sdxl evaluate memorization", description=__doc__ or "")
    quiet()
    group = Group()
    with closing(group), stop_requests() as stopping:
        sets = Sets(config, group)
        extractor = group.together(lambda: find(config.extractor, group.device))
        identity: dict[str, Any] = {"seed": config.seed, "top": config.top, "extractor": extractor.fingerprint, **sets.about()}
        if config.dry_run:
            return group.say("\n".join(f"{key}: {value}" for key, value in (asdict(config) | identity).items()))
        with group.results(config.out, identity):
            found = measure(sets, extractor, group, stopping)
            group.on_main(lambda: write(config, identity, found, sets))


def write(config: Config, identity: dict[str, Any], found: Found, sets: Sets) -> None:
    """Numbers, table, pictures."""
    results, out = found.results(config.seed), Path(config.out)
    write_atomically(out / "results.json", json.dumps({"identity": identity, **results}, indent=1).encode())
    write_atomically(out / "table.md", table(results).encode())
    draw(found, sets, out, config.top)
    print(f"{table(results)}\n{len(sets.training)} training images; results -> {config.out}")
