"""What `evaluate memorization` shows: its table, histograms, the sheet of the nearest matches."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from torch import Tensor

from ambient.runs import write_atomically
from sdxl.decode import save
from sdxl.evaluate import copying
from sdxl.evaluate.matches import Found, Sets, by_key

GAP = 4  # pixels between pictures


def table(results: dict[str, Any]) -> str:
    """Markdown: shares with their intervals; below an attack its control."""
    controlled = any("control" in row for row in results["models"])
    heads = ["images", "count", "similarity", "above .9", "above .95", "memorised", *["memorised, by the control"] * controlled]
    lines = [heads, ["---"] * len(heads)]

    def line(name: str, row: dict[str, Any], count: str = "") -> None:
        beyond = [said(row[key]["memorised"]) if key in row else "" for key in ("beyond held out", "beyond control")]
        lines.append([name, count or str(row["images"]), *(said(row[key]) for key in copying.NAMES), *beyond][: len(heads)])

    for name, row in results["baselines"].items():
        line(name, row)
    for row in results["models"]:
        line(f"{row['model']}, {row['kind']}", row)
        if "control" in row:
            line(f"control of {row['model']}, {row['kind']}", row["control"])
    for row in results["differences"]:
        line(f"{row['model']} less {row['less']}, {row['kind']}", row, "paired")
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def said(value: dict[str, Any]) -> str:
    """Mean and interval."""
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

    rows = {name: x.similarity for name, x in found.baselines.items()}
    rows |= {f"{m}, {kind}": found.similarity(m, kind)[1].flatten() for m in found.models for kind in found.kinds[m]}
    rows |= {
        f"control of {m}, {kind}": by_key(x, of)[1].flatten()
        for m, (x, kinds) in found.controls.items()
        for kind, of in kinds.items()
    }
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
