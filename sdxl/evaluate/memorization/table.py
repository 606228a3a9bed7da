"""What `evaluate memorization` shows: its table, histograms, and a picture of the nearest matches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from harness import copying
from harness.tables import markdown
from sdxl.evaluate.memorization.figure import Line, histograms, panel
from sdxl.evaluate.memorization.measure import GENERATED, HELD_OUT, OTHERS, ComparedImages, Matches
from sdxl.evaluate.results import Beyond, Difference, Mean, Memorization, Similarities
from sdxl.images.sheets import grid, save, sheet, thumbnail

ACROSS, GAP = 4, 24  # pairs in a row of matches.png, and pixels between two pairs


def table(results: Memorization) -> str:
    """A table in Markdown: shares with their intervals; below each attack its control."""
    head = ["images", "count", "similarity", "above .9", "above .95", "memorised"]
    head += ["memorised, by the control"] * has_controls(results)
    rows = [head]

    def add(name: str, row: Similarities | Difference, *beyond: Beyond | None) -> None:
        count = "paired" if isinstance(row, Difference) else str(row.images)
        shares = [mean_and_interval(getattr(row, share)) for share in copying.NAMES]
        memorised = [mean_and_interval(one.memorised) if one else "" for one in beyond]
        rows.append([name, count, *shares, *memorised, "", ""][: len(head)])

    for name, row in results.baselines.items():
        add(name, row)
    for row in results.models:
        add(f"{row.model}, {row.kind}", row, row.beyond_held_out, row.beyond_control)
        if row.control:
            add(f"control of {row.model}, {row.kind}", row.control)
    for row in results.differences:
        add(f"{row.model} less {row.less}, {row.kind}", row)
    return markdown(rows)


def has_controls(results: Memorization) -> bool:
    """Whether an attack was compared with its control."""
    return any(row.control for row in results.models)


def warning(results: Memorization) -> str:
    """A sentence if attacks and controls were compared with sets of different sizes; else an empty text."""
    counts = [results.baselines[name].images for name in (OTHERS, HELD_OUT) if name in results.baselines]
    if not has_controls(results) or len(set(counts)) < 2:
        return ""
    return (
        f"attacks are compared with {counts[0]:,} images and their controls with {counts[1]:,}. Take as many of both: among more "
        "images the nearest one is nearer, by chance alone."
    )


def mean_and_interval(value: Mean | None) -> str:
    """A mean with its interval; None, which is a share that any value fits, as words."""
    if value is None:
        return "cannot be told"
    low, high = value.interval
    return f"{value.mean:.3f} ({low:.3f} to {high:.3f})"


def draw(matches: Matches, images: ComparedImages, out: Path, top: int) -> None:
    """Write histograms.png, and matches.png with the `top` nearest pairs: an image, and the training image nearest to it."""
    save(histograms(panels(matches)), out / "histograms.png")
    pairs, labels = [], []
    for match in nearest_pairs(matches, top):
        pixels = images.models[match.model][match.number], images.training[match.nearest]
        pairs.append(grid([[thumbnail(Image.fromarray(x.permute(1, 2, 0).numpy())) for x in pixels]]))
        key = f"image {match.key}" if match.kind == GENERATED else match.key
        nearest = images.training.pictures[match.nearest].key
        labels.append(f"{match.similarity:.3f} {match.model}, {match.kind}\n{key}, nearest:\n{nearest}")
    save(sheet(pairs, columns=min(ACROSS, len(pairs)), below=labels, gap=GAP), out / "matches.png")


def panels(matches: Matches) -> dict[str, list[Line]]:
    """For each kind of results a panel with the baselines, and with each model beside its control."""
    similarities = matches.similarities()
    kinds = dict.fromkeys(kind for matched in matches.models.values() for kind in matched.kinds)
    models = {kind: [name for name, matched in matches.models.items() if kind in matched.kinds] for kind in kinds}
    return {kind: panel(similarities, {(name, kind): name for name in models[kind]}, (OTHERS, HELD_OUT)) for kind in kinds}


class Match(NamedTuple):
    """An image by its model and number, and the number of the training image that is nearest to it."""

    similarity: float
    model: str
    kind: str
    key: str
    number: int
    nearest: int


def nearest_pairs(matches: Matches, top: int) -> list[Match]:
    """The matches with the largest similarity. An attacked image appears once for each kind of results, by its nearest result."""
    best: dict[tuple[str, str], Match] = {}
    for model, matched in matches.models.items():
        similarity, nearest = matched.neighbours.similarity.tolist(), matched.neighbours.row.tolist()
        for kind, key, i in matched.results():
            if (kind, key) not in best or similarity[i] > best[kind, key].similarity:
                best[kind, key] = Match(similarity[i], model, kind, key, i, nearest[i])
    return sorted(best.values(), key=lambda match: -match.similarity)[:top]
