"""What `evaluate memorization` shows: its table, histograms, the sheet of the nearest matches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from harness import copying
from harness.tables import markdown
from sdxl.attack.strips import GAP, LETTER, Words
from sdxl.evaluate import tables
from sdxl.evaluate.memorization.figure import Line, histograms
from sdxl.evaluate.memorization.measure import GENERATED, HELD_OUT, OTHERS, Matches, Sets, by_key
from sdxl.evaluate.results import Beyond, Difference, Mean, Memorization, Similarities
from sdxl.images.sheets import save

NARROWEST = 230  # pixels of a pair, for the words below it


def table(results: Memorization) -> str:
    """Markdown: shares with their intervals; below an attack its control."""
    heads = ["images", "count", "similarity", "above .9", "above .95", "memorised"]
    heads += ["memorised, by the control"] * controlled(results)
    lines = [heads]

    def line(name: str, row: Similarities | Difference, *beyond: Beyond | None) -> None:
        count = "paired" if isinstance(row, Difference) else str(row.images)
        shares = [said(getattr(row, share)) for share in copying.NAMES]
        cells = [name, count, *shares, *(said(one.memorised) if one else "" for one in beyond)]
        lines.append([*cells, "", ""][: len(heads)])

    for name, row in results.baselines.items():
        line(name, row)
    for row in results.models:
        line(f"{row.model}, {row.kind}", row, row.beyond_held_out, row.beyond_control)
        if row.control:
            line(f"control of {row.model}, {row.kind}", row.control)
    for row in results.differences:
        line(f"{row.model} less {row.less}, {row.kind}", row)
    return markdown(lines)


def controlled(results: Memorization) -> bool:
    return any(row.control for row in results.models)


def unequal(results: Memorization) -> tuple[int, int] | None:
    """With how many images attacks and their controls are compared, where that is not the same."""
    found = [results.baselines[name].images for name in (OTHERS, HELD_OUT) if name in results.baselines]
    return (found[0], found[1]) if controlled(results) and len(set(found)) > 1 else None


def said(value: Mean | None) -> str:
    """Mean and interval; nothing can be told where there is none."""
    if value is None:
        return "cannot be told"
    low, high = value.interval
    return f"{value.mean:.3f} ({low:.3f} to {high:.3f})"


def draw(found: Matches, sets: Sets, out: Path, top: int) -> None:
    """histograms.png and matches.png."""
    tables.save(histograms(_panels(found)), out / "histograms.png")
    save(_sheet(_nearest(found, top), sets), out / "matches.png")


def _panels(found: Matches) -> dict[str, list[Line]]:
    """A panel a kind: the baselines, and each model with its control."""
    baselines = [Line(name, x.similarity.tolist()) for name, x in found.baselines.items()]
    panels = {kind: [*baselines] for kind in dict.fromkeys(kind for kinds in found.kinds.values() for kind in kinds)}
    for model, kinds in found.kinds.items():
        x, controls = found.controls.get(model, (None, {}))
        for kind in kinds:
            panels[kind].append(Line(model, found.similarity(model, kind)[1].flatten().tolist(), of=model))
            if x is not None and kind in controls:
                beside = by_key(x, controls[kind])[1].flatten().tolist()
                panels[kind].append(Line(f"control of {model}", beside, of=model, control=True))
    return panels


class Match(NamedTuple):
    """An image by its model and number, and the training image that is nearest to it."""

    similarity: float
    model: str
    kind: str
    key: str
    number: int
    nearest: int


def _nearest(found: Matches, top: int) -> list[Match]:
    """The nearest of all; each attacked image once a kind, of the model that came nearest: alike models give the same."""
    best: dict[tuple[str, str], Match] = {}
    for model, match in found.models.items():
        similarity, nearest = match.similarity.tolist(), match.row.tolist()
        for kind, rows in found.kinds[model].items():
            for key, i in ((key, i) for key, those in rows.items() for i in those):
                if (kind, key) not in best or similarity[i] > best[kind, key].similarity:
                    best[kind, key] = Match(similarity[i], model, kind, key, i, nearest[i])
    return sorted(best.values(), key=lambda one: -one.similarity)[:top]


def _sheet(matches: list[Match], sets: Sets) -> Any:
    """Each image on the left, the training image that was found on its right, below them what they are; four pairs a row."""
    from PIL import Image, ImageDraw

    side, across, words = min(256, sets.models[matches[0].model].size[0]), min(4, len(matches)), Words(LETTER)
    width, height = max(2 * side + 3 * GAP, NARROWEST), side + words.height(4)
    whole = Image.new("RGB", (across * width, -(-len(matches) // across) * height), "white")
    pen = ImageDraw.Draw(whole)
    for i, one in enumerate(matches):
        left, top = i % across * width, i // across * height
        for j, pixels in enumerate((sets.models[one.model][one.number], sets.training[one.nearest])):
            shown = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((side, side))
            whole.paste(shown, (left + j * (side + GAP), top))
        of = f"image {one.key}" if one.kind == GENERATED else one.key
        lines = [f"{one.similarity:.3f}  {one.model}, {one.kind}", f"{of}, nearest:", sets.training.pictures[one.nearest].key]
        words.write(pen, (left, top + side + GAP), [words.cut(line, width - 2 * GAP) for line in lines])
    return whole
