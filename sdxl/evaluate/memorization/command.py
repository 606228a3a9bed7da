"""Does a model give back its training images? How similar its images are to the nearest one, beside images that are no copies.

    python -m sdxl evaluate memorization --images attacked --training photos --held-out others --out memory
    python -m sdxl evaluate memorization --images clean noisy --training photos ...    paired, image by image: Fig. 8
    python -m sdxl evaluate memorization --images generated --training photos ...      plain samples: the Somepalli baseline
    python -m sdxl evaluate memorization --images attacked --control attacked_others --training photos --held-out others ...

`--images` are folders of `attack noise`, of `generate`, or of any images of one size; training images are resized and cropped to
that size. Similarity is the cosine of features, as the paper's thresholds .9 and .95 have it for DINOv2; with another extractor
look at the baselines before you trust a threshold. `--control`: the same attack on the held-out images, for each of `--images`.
A control is compared with the images that it attacked; what an attack has beyond its control was learned from training images.
Writes results.json, table.md, similarities.csv (every image, and the training image nearest to it), histograms.png, matches.png
(the images with the largest similarity, each beside its training image). Paper: Sec. 4.1, 4.4, Figs. 3, 8, 9, 10.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import records
from sdxl.evaluate import tables
from sdxl.evaluate.features.extractors import find
from sdxl.evaluate.memorization.measure import ComparedImages, Matches, measure
from sdxl.evaluate.memorization.options import MemorizationOptions
from sdxl.evaluate.memorization.table import draw, table, warning
from sdxl.evaluate.results import Memorization
from sdxl.run_command import started

OPTIONS = MemorizationOptions


def main(argv: list[str]) -> None:
    """Compare the images that `argv` names."""
    with started(OPTIONS, argv, "evaluate memorization", __doc__) as (config, group):
        images = ComparedImages(config, group)
        extractor = group.together(lambda: find(config.extractor, group.device))
        identity: dict[str, Any] = {"seed": config.seed, "top": config.top, "extractor": extractor.fingerprint}
        identity |= images.identity()
        if config.dry_run:
            return group.say(*(f"{key}: {value}" for key, value in (asdict(config) | identity).items()))
        with group.results(config.out, identity) as stopping:
            matches = measure(images, extractor, group, stopping)
            group.on_main(lambda: write(config, identity, matches, images))


def write(config: MemorizationOptions, identity: dict[str, Any], matches: Matches, images: ComparedImages) -> None:
    """Write results.json, the tables and the pictures."""
    about, out = {"config": tables.recorded(config), "identity": identity}, Path(config.out)
    results = records.fit(about | matches.results(config.seed), Memorization, where="the results")
    shared, warned = images.shared(), warning(results)
    shown = table(results)
    shown += f"\n{shared:,} of the held-out images are among the training images, to the byte.\n" if shared else ""
    shown += f"\nMind that {warned}\n" if warned else ""
    tables.write(out, results, shown, matches.lines(images), csv="similarities.csv")
    draw(matches, images, out, config.top)
    print(f"{shown}\n{len(images.training)} training images; results -> {config.out}")
