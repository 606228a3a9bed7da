"""The parts of `evaluate memorization`: sets of images, similarities and matches, the table and the pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ambient.runs import write_atomically
from sdxl.decode import save
from sdxl.evaluate import copying
from sdxl.extract import Extractor
from sdxl.features import features
from sdxl.folder import Images, opened
from sdxl.group import Group
from sdxl.neighbours import Neighbours, nearest
from sdxl.sources import Columns

if TYPE_CHECKING:
    from sdxl.evaluate.memorization import Config

GENERATED = "generated"
GAP = 4  # pixels between pictures


class Sets:
    """The images, read and checked; all processes make it. Raises: UserError for what does not go together."""

    def __init__(self, config: Config, group: Group):
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

    def about(self) -> dict[str, Any]:
        """By their content."""
        found = {f"images of {name}": images.fingerprint for name, images in self.models.items()}
        return found | {"training": self.training.fingerprint} | (
            {"held out": self.held_out.fingerprint} if self.held_out else {}
        )  # fmt: skip


def kinds(images: Images) -> dict[str, dict[str, list[int]]]:
    """{kind: {key: rows}}: results of an attack by level and kind, the rows of one attacked image together."""
    found: dict[str, dict[str, list[int]]] = {}
    listed = images.manifest.get("images") or [{} for _ in range(len(images))]
    for row, about in enumerate(listed):
        name = GENERATED
        if "kind" in about:
            name = f"t = {about['t']}, {'one step' if about['kind'] == 'one_step' else 'samples'}"
        found.setdefault(name, {}).setdefault(about["key"] if "kind" in about else str(row), []).append(row)
    return found


@dataclass(frozen=True)
class Found:
    """Matches of each model's images; similarities of the baselines."""

    models: dict[str, Neighbours]
    kinds: dict[str, dict[str, dict[str, list[int]]]]
    baselines: dict[str, Tensor]

    def similarity(self, model: str, kind: str) -> tuple[list[str], Tensor]:
        """Keys, and (N, samples)."""
        rows = self.kinds[model][kind]
        return list(rows), self.models[model].similarity[torch.tensor(list(rows.values()))]

    def results(self, seed: int) -> dict[str, Any]:
        """All the numbers."""
        found = {name: copying.described(x[:, None], seed=seed) for name, x in self.baselines.items()}
        models, pairs, first = [], [], next(iter(self.models))
        for model in self.models:
            for kind in self.kinds[model]:
                keys, x = self.similarity(model, kind)
                row = {"model": model, "kind": kind, **copying.described(x, seed=seed)}
                if "held out" in self.baselines:
                    row["beyond held out"] = copying.beyond(x, self.baselines["held out"][:, None], seed=seed)
                models.append(row)
                if model != first and kind in self.kinds[first] and kind != GENERATED:
                    theirs, y = self.similarity(first, kind)
                    if theirs == keys:
                        pairs.append({"model": first, "less": model, "kind": kind, **copying.paired(y, x, seed=seed)})
        return {"baselines": found, "models": models, "differences": pairs}


def measure(sets: Sets, extractor: Extractor, group: Group, stopping: Callable[[], bool]) -> Found:
    """Raises: UserError, Interrupted, as `features` and `nearest`."""

    def seen(images: Images) -> Tensor:
        return features(images, extractor, group, batch=sets.config.batch, stopping=stopping)

    known = seen(sets.training)
    others = nearest(known, known, own=torch.arange(len(known)), group=group).first()
    baselines = {"training, nearest other": others.similarity}
    if sets.held_out is not None:
        baselines["held out"] = nearest(seen(sets.held_out), known, group=group).first().similarity
    models = {name: nearest(seen(images), known, group=group).first() for name, images in sets.models.items()}
    return Found(models, {name: kinds(images) for name, images in sets.models.items()}, baselines)


def table(results: dict[str, Any]) -> str:
    """Markdown: shares with their intervals."""
    lines = ["| images | count | similarity | above .9 | above .95 | memorised |", "|---|---|---|---|---|---|"]
    rows = [(name, row) for name, row in results["baselines"].items()]
    rows += [(f"{row['model']}, {row['kind']}", row) for row in results["models"]]
    for name, row in rows:
        beyond = _said(row["beyond held out"]["memorised"]) if "beyond held out" in row else ""
        cells = [name, str(row["images"]), *(_said(row[key]) for key in copying.NAMES), beyond]
        lines.append(f"| {' | '.join(cells)} |")
    for row in results["differences"]:
        cells = [f"{row['model']} less {row['less']}, {row['kind']}", "paired", *(_said(row[key]) for key in copying.NAMES), ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _said(value: dict[str, Any]) -> str:
    low, high = value["interval"]
    return f"{value['mean']:.3f} ({low:.3f} to {high:.3f})"


def draw(found: Found, sets: Sets, out: Path, top: int) -> None:
    """histograms.png and matches.png."""
    _histograms(found, out / "histograms.png")
    pairs = []
    for name, match in found.models.items():
        order = match.similarity.argsort(descending=True, stable=True)[:top].tolist()
        pairs += [(float(match.similarity[i]), name, i, int(match.row[i])) for i in order]
    pairs = sorted(pairs, key=lambda pair: -pair[0])[:top]
    save(_sheet([(sets.models[name][i], sets.training[row]) for _, name, i, row in pairs]), out / "matches.png")


def _sheet(pairs: list[tuple[Tensor, Tensor]]) -> Any:
    """Each image on the left, the training image that was found on its right; four pairs a row."""
    from PIL import Image

    side, across = min(256, pairs[0][0].shape[-1]), min(4, len(pairs))
    width, height = 2 * side + 3 * GAP, side + GAP
    whole = Image.new("RGB", (across * width, -(-len(pairs) // across) * height), "white")
    for i, pair in enumerate(pairs):
        for j, pixels in enumerate(pair):
            one = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((side, side))
            whole.paste(one, (i % across * width + j * (side + GAP), i // across * height))
    return whole


def _histograms(found: Found, file: Path) -> None:
    from matplotlib.figure import Figure

    rows = {name: x for name, x in found.baselines.items()}
    rows |= {f"{m}, {kind}": found.similarity(m, kind)[1].flatten() for m in found.models for kind in found.kinds[m]}
    low = max(-1.0, min(float(x.min()) for x in rows.values()) - 0.01)
    figure = Figure(figsize=(7, 1.3 * len(rows)), layout="constrained")
    for axis, (name, x) in zip(figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0], rows.items(), strict=True):
        axis.hist(x.numpy(), bins=60, range=(low, 1.0), color="tab:blue")
        axis.set_title(name, fontsize=8, loc="left")
        for bound in (copying.CLOSE, copying.COPY):
            axis.axvline(bound, color="black", linewidth=0.8, linestyle=":")
    figure.supxlabel("similarity to the nearest training image", fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=120)
    write_atomically(file, stream.getvalue())
