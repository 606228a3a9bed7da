"""The parts of `evaluate memorization`: sets of images, their similarities and matches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import copying, records, statistics
from harness.files import digest
from harness.neighbours import Neighbours, nearest
from sdxl.evaluate.features.extractors import Extractor
from sdxl.evaluate.features.features import features
from sdxl.evaluate.memorization.options import MemorizationOptions
from sdxl.images.folder import Images, opened
from sdxl.images.pictures import Columns, Picture
from sdxl.manifest import Attacked, Filled, Noised
from sdxl.parallel import Group

GENERATED = "generated"
OF_IMAGES = ("data", "split", "images", "print of images", "print of regions")  # what an attack and its control may differ in
OTHERS, HELD_OUT = "training, nearest other", "held out"  # the baselines


class Sets:
    """The images, read and checked; all processes make it. Raises: UserError for what does not go together."""

    def __init__(self, config: MemorizationOptions, group: Group):
        self.config = config
        self.models = {Path(folder).name: opened(folder, group) for folder in config.images}
        sizes = {images.size for images in self.models.values()}
        size = next(iter(sizes))
        group.end_if([f"images of the models are of several sizes: {sorted(sizes)}; they need one"] if len(sizes) > 1 else [])
        group.end_if([f"images must be square; got {size[1]}x{size[0]}"] if size[0] != size[1] else [])
        self.training = opened(config.training, group, columns=Columns(config.training_split, caption=""), resolution=size[0])
        self.held_out = None
        if config.held_out:
            self.held_out = opened(config.held_out, group, columns=Columns(config.held_out_split, caption=""), resolution=size[0])
        self.controls = {m: opened(folder, group) for m, folder in zip(self.models, config.control, strict=bool(config.control))}
        group.end_if([fault for name, control in self.controls.items() for fault in self._faults(self.models[name], control)])
        group.end_if([*self._too_few(), *self._regions(), *self._all_known()])

    def _too_few(self) -> list[str]:
        """Sets without enough images for an interval."""
        units = {
            images.source: min(map(len, kinds(images).values())) for images in (*self.models.values(), *self.controls.values())
        }
        units |= {images.source: len(images) for images in (self.training, self.held_out) if images is not None}
        return [
            f"an interval needs at least {statistics.FEWEST} images, and {source} has {count}"
            for source, count in units.items()
            if count < statistics.FEWEST
        ]

    def _regions(self) -> list[str]:
        """Filled regions are compared with regions."""
        for images in self.models.values():
            shown = originals(images)
            if shown and not set(shown.values()) & set(self.training.digests):
                return [f"{images.source} holds filled regions, and no image of --training is one of them: give "
                        f"--training {images.source}/originals"]  # fmt: skip
        return []

    def _all_known(self) -> list[str]:
        """Held-out images that are not."""
        if self.held_out is not None and self.shared() == len(self.held_out):
            return [f"all images of --held-out {self.config.held_out} are among those of --training; take others"]
        return []

    def shared(self) -> int:
        """How many held-out images are training images too, to the byte."""
        known = set(self.training.digests)
        return sum(found in known for found in self.held_out.digests) if self.held_out is not None else 0

    def _faults(self, attack: Images, control: Images) -> list[str]:
        """Why a control is none of this attack."""
        if control.size != attack.size:
            return [f"{control.source} has images of another size than {attack.source}; a control is the same attack"]
        told = [images.manifest for images in (attack, control)]
        asked = [{k: v for k, v in records.plain(one.identity).items() if k not in OF_IMAGES} if one else {} for one in told]
        other = sorted(key for key in asked[0].keys() | asked[1].keys() if asked[0].get(key) != asked[1].get(key))
        if other or not (attacked(attack) and attacked(control)):
            why = f"they differ in {', '.join(other)}" if other else "one of them is no folder of `python -m sdxl attack`"
            return [f"{control.source} is another attack than {attack.source}: {why}"]
        known, regions = set(self.held_out.digests if self.held_out else []), originals(control)
        # of the masking attack, the regions that were hidden are among the held-out images
        strange = [row.key for row in attacked(control) if regions.get(getattr(row, "original", ""), row.digest) not in known]
        return [f"{control.source} attacked {strange[0]}, which is none of the --held-out images"] if strange else []

    def about(self) -> dict[str, Any]:
        """By their content."""
        found = {f"images of {name}": images.fingerprint for name, images in self.models.items()}
        found |= {f"control of {name}": images.fingerprint for name, images in self.controls.items()}
        return found | {"training": self.training.fingerprint} | (
            {"held out": self.held_out.fingerprint} if self.held_out else {}
        )  # fmt: skip


def attacked(images: Images) -> list[Attacked]:
    """What the manifest of an attack says of its results; nothing for other images."""
    return [row for row in images.manifest.images if isinstance(row, Attacked)] if images.manifest else []


def originals(images: Images) -> dict[str, str]:
    """Of a masking attack: the files of what was hidden, as the manifest names them, by their content."""
    files = {row.original for row in attacked(images) if isinstance(row, Filled)}
    return {file: digest((Path(images.source) / file).read_bytes()) for file in files}


def kinds(images: Images) -> dict[str, dict[str, list[int]]]:
    """{kind: {key: rows}}: results of an attack by level, if it has one, and kind; the rows of one attacked image together."""
    results = attacked(images)
    if not results:
        return {GENERATED: {str(row): [row] for row in range(len(images))}}
    found: dict[str, dict[str, list[int]]] = {}
    for row, result in enumerate(results):
        level = f"t = {result.t}, " if isinstance(result, Noised) else ""
        name = level + re.sub(r"_\d+$", "s", result.kind).replace("_", " ")
        found.setdefault(name, {}).setdefault(result.key, []).append(row)
    return found


@dataclass(frozen=True)
class Matches:
    """Matches of each model's images and of its control's; of the baselines."""

    models: dict[str, Neighbours]
    kinds: dict[str, dict[str, dict[str, list[int]]]]
    baselines: dict[str, Neighbours]
    controls: dict[str, tuple[Neighbours, dict[str, dict[str, list[int]]]]]

    def similarity(self, model: str, kind: str) -> tuple[list[str], Tensor]:
        """As `by_key`."""
        return by_key(self.models[model], self.kinds[model][kind])

    def results(self, seed: int) -> dict[str, Any]:
        """All the numbers."""
        found = {name: copying.described(x.similarity[:, None], seed=seed) for name, x in self.baselines.items()}
        models, pairs, first = [], [], next(iter(self.models))
        for model in self.models:
            for kind in self.kinds[model]:
                keys, x = self.similarity(model, kind)
                row = {"model": model, "kind": kind, **copying.described(x, seed=seed)}
                if HELD_OUT in self.baselines:
                    row["beyond held out"] = copying.beyond(x, self.baselines[HELD_OUT].similarity[:, None], seed=seed)
                models.append(row | self._beside(model, kind, x, seed))
                if model != first and kind in self.kinds[first] and kind != GENERATED:
                    theirs, y = self.similarity(first, kind)
                    if theirs == keys:
                        pairs.append({"model": first, "less": model, "kind": kind, **copying.paired(y, x, seed=seed)})
        return {"baselines": found, "models": models, "differences": pairs}

    def _beside(self, model: str, kind: str, x: Tensor, seed: int) -> dict[str, Any]:
        """The control's numbers, and what the attack has beyond it."""
        if model not in self.controls or kind not in self.controls[model][1]:
            return {}
        matches, of = self.controls[model]
        _, y = by_key(matches, of[kind])
        return {"control": copying.described(y, seed=seed), "beyond control": copying.beyond(x, y, seed=seed)}

    def lines(self, sets: Sets) -> list[dict[str, Any]]:
        """Every image, and the one that was found nearest to it."""
        known, held_out = sets.training.pictures, sets.held_out.pictures if sets.held_out else []
        asked = {OTHERS: known, HELD_OUT: held_out}
        found = [_line(name, "", p.key, x, i, known) for name, x in self.baselines.items() for i, p in enumerate(asked[name])]
        for model, x in self.models.items():
            for part, of, kinds, others in ((model, x, self.kinds[model], known), *self._control_of(model, held_out)):
                keys = ((kind, key, i) for kind, rows in kinds.items() for key, those in rows.items() for i in those)
                found += [_line(part, kind, key, of, i, others) for kind, key, i in keys]
        return found

    def _control_of(self, model: str, held_out: list[Picture]) -> list[Any]:
        return [(f"control of {model}", *self.controls[model], held_out)] if model in self.controls else []


def by_key(matches: Neighbours, rows: dict[str, list[int]]) -> tuple[list[str], Tensor]:
    """Keys, and similarities (N, samples)."""
    return list(rows), matches.similarity[torch.tensor(list(rows.values()))]


def _line(images: str, kind: str, key: str, matches: Neighbours, row: int, known: list[Picture]) -> dict[str, Any]:
    nearest = known[int(matches.row[row])].key
    return {"images": images, "kind": kind, "key": key, "similarity": f"{float(matches.similarity[row]):.6f}", "nearest": nearest}


def measure(sets: Sets, extractor: Extractor, group: Group, stopping: Callable[[], bool]) -> Matches:
    """Raises: UserError, Interrupted, as `features` and `nearest`."""

    def seen(images: Images) -> Tensor:
        return features(images, extractor, group, batch=sets.config.batch, stopping=stopping)

    known = seen(sets.training)
    baselines = {OTHERS: nearest(known, known, own=torch.arange(len(known)), group=group).first()}
    controls = {}
    if sets.held_out is not None:
        strangers = seen(sets.held_out)
        baselines[HELD_OUT] = nearest(strangers, known, group=group).first()
        for name, images in sets.controls.items():
            controls[name] = nearest(seen(images), strangers, group=group).first(), kinds(images)
    models = {name: nearest(seen(images), known, group=group).first() for name, images in sets.models.items()}
    return Matches(models, {name: kinds(images) for name, images in sets.models.items()}, baselines, controls)
