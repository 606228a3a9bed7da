"""Pictures in labelled rows, and histograms over one another."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sdxl.attack.strips import GAP, as_rgb, strip
from sdxl.decode import LARGEST
from sdxl.evaluate import tables
from sdxl.evaluate.copying import CLOSE, COPY
from sdxl.noisy_set import NoisySet

LEAST = 96  # pixels of a picture: smaller ones are enlarged, so that a label fits beside them
WIDTH, WIDEST = 760, 1600  # of a page, about, and of strips: pixels
BINS = 40
ASIDE = {"held out": {"color": "#888888", "linestyle": ":"}, "control": {"color": "#444444", "linestyle": "--"}}
MARGIN, LETTER = 190, 13  # pixels: room for labels, and their size


def image(source: Any) -> Any:
    """Square and in colours, of a size to be looked at: from a file, or a picture. Enlarged by whole pixels."""
    from PIL import Image

    if isinstance(source, Path):
        with Image.open(source) as opened:
            source = opened.convert("RGB")
    side = min(source.size)
    square = source.convert("RGB").crop((0, 0, side, side))
    if side > LARGEST:
        return square.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    times = -(-LEAST // side)
    return square.resize((times * side, times * side), Image.Resampling.NEAREST)


def noisy(data: NoisySet, row: int) -> Any:
    """A noisy latent as RGB."""
    return image(as_rgb(data.rows([row])["x_n"][0]))


def grid(rows: list[tuple[str, list[Any]]]) -> Any:
    """A label, and pictures beside it; short rows end in white."""
    from PIL import Image, ImageDraw, ImageFont

    side = max(one.width for _, row in rows for one in row)
    across = max(len(row) for _, row in rows)
    blank = Image.new("RGB", (side, side), "white")
    alike = [[one.resize((side, side), Image.Resampling.NEAREST) for one in row] for _, row in rows]
    body = strip([row + [blank] * (across - len(row)) for row in alike])
    whole = Image.new("RGB", (MARGIN + body.width, body.height), "white")
    whole.paste(body, (MARGIN, 0))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(LETTER)
    for i, (label, _) in enumerate(rows):
        pen.multiline_text((4, i * (side + GAP) + side // 2), wrapped(label), "black", font, anchor="lm", spacing=3)
    return whole


def wrapped(label: str, width: int = 25) -> str:
    """In lines that fit into the margin; words are broken only where they must be."""
    import textwrap

    kept = label.replace(" = ", "\u00a0=\u00a0")  # t_n = 500 stays on one line
    return "\n".join(textwrap.wrap(kept, width)).replace("\u00a0", " ")


def below(files: list[Path]) -> Any:
    """Strips under one another: narrow ones enlarged by whole pixels, wide ones made smaller."""
    from PIL import Image

    strips = []
    for file in files:
        with Image.open(file) as opened:
            strips.append(opened.convert("RGB"))
    width = max(one.width for one in strips)
    whole = Image.new("RGB", (width, sum(one.height + GAP for one in strips) - GAP), "white")
    top = 0
    for one in strips:
        whole.paste(one, (0, top))
        top += one.height + GAP
    if width <= WIDEST:
        times = max(1, WIDTH // width)
        return whole.resize((times * width, times * whole.height), Image.Resampling.NEAREST)
    return whole.resize((WIDEST, round(WIDEST / width * whole.height)), Image.Resampling.LANCZOS)


def histograms(panels: dict[str, dict[str, list[float]]]) -> Any:
    """{title: {label: similarities}}: shares of images, one panel a title; baselines and controls in grey and dashed."""
    low = max(-1.0, min(min(x) for panel in panels.values() for x in panel.values()) - 0.02)
    with tables.rc_context(tables.LOOK):
        figure = tables.Figure(figsize=(8.4, 2.6 * len(panels)), layout="constrained")
        for axes, (title, panel) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
            colours = iter(tables.COLOURS * 3)
            for label, x in panel.items():
                aside = next((look for start, look in ASIDE.items() if label.startswith(start)), None)
                look: Any = aside or {"color": next(colours)}
                share = [1 / len(x)] * len(x)
                axes.hist(x, bins=BINS, range=(low, 1.0), weights=share, histtype="step", linewidth=1.6, label=label, **look)
            for bound in (CLOSE, COPY):
                axes.axvline(bound, color="black", linewidth=0.7, linestyle=":")
            axes.set(title=title, ylabel="share of images", xlim=(low, 1.005))
            axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
        figure.supxlabel("similarity to the nearest image (dotted: .9, .95)", fontsize=9)
    return figure


def png(drawn: Any) -> bytes:
    """Of a picture, or of a matplotlib figure."""
    stream = io.BytesIO()
    if isinstance(drawn, bytes):
        return drawn
    if isinstance(drawn, tables.Figure):
        with tables.rc_context(tables.LOOK):
            drawn.savefig(stream, format="png", metadata={"Software": None})
    else:
        drawn.save(stream, "PNG")
    return stream.getvalue()
