"""Table 1 and its figure: errors at each level and for each model, with their differences in pairs."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from harness import style
from harness.statistics import difference, mean
from harness.tables import markdown
from harness.wording import several
from sdxl.evaluate import tables
from sdxl.evaluate.results import Restoration
from sdxl.images.sheets import save

SPACES = ("latent", "pixel")
NOTE = (
    "Errors: mean square error (standard deviation over images). Differences: mean (standard error) over pairs, of the same "
    "image and noise."
)


def rows_of(results: Restoration) -> list[dict[str, Any]]:
    """A row for each level and model: its errors, and their differences from those of the first model in pairs."""
    rows = []
    for at, level in enumerate(results.levels):
        for model in results.models:
            row: dict[str, Any] = {"level": level, "model": model.name, "t_n": model.t_n, "weight": model.weight}
            for space, errors in results.errors.items():
                if errors:
                    own, first = errors[model.name][at], errors[results.models[0].name][at]
                    row |= {f"{space}_{key}": value for key, value in mean(own)._asdict().items()}
                    row |= {f"{space}_minus_first_{key}": value for key, value in difference(own, first)._asdict().items()}
            rows.append(row)
    return rows


def write(out: Path, results: Restoration) -> None:
    """Write results.json with the differences of all pairs of models, the tables and the figure."""
    rows = rows_of(results)
    pairs = [
        {"space": space, "level": level, "model": other, "minus": one, **difference(errors[other][at], errors[one][at])._asdict()}
        for space, errors in results.errors.items()
        for at, level in enumerate(results.levels if errors else [])
        for one, other in combinations(errors, 2)
    ]
    alone = results.vae_alone
    vae = f" The pixel error of the VAE alone, with nothing to restore, is {alone['mean']:.4f}." if alone else ""
    shown = f"{markdown(table_1(results))}\n{several(len(results.images), 'held-out image')}. {NOTE}{vae}\n"
    tables.write(out, replace(results, rows=tuple(rows), pairs=tuple(pairs)), shown, rows)
    save(figure(results, rows), out / "restoration.png")


def table_1(results: Restoration) -> list[list[str]]:
    """The table for readers, headings first: a column for each level; a row for each model, difference and kind of error."""
    rows, models = rows_of(results), [model for model in results.models if model.t_n is not None] or results.models
    table = [["error", "trained at", *(f"t = {level:g}" for level in results.levels)]]
    for space in (space for space in SPACES if results.errors.get(space)):
        for model in results.models:
            of_model = [row for row in rows if row["model"] == model.name]
            level = "" if model.t_n is None else f"t_n = {model.t_n:g}"
            cells = [f"{row[f'{space}_mean']:.4f}{_bracketed(row[f'{space}_std'], '.4f')}" for row in of_model]
            table.append([f"{space}, {model.name}", level, *cells])
            if model is not results.models[0]:
                gaps = [(row[f"{space}_minus_first_mean"], row[f"{space}_minus_first_error"]) for row in of_model]
                name = f"{space}, {model.name} minus {results.models[0].name}"
                table.append([name, "", *(f"{gap:+.2g}{_bracketed(error, '.1g')}" for gap, error in gaps)])
    if len(models) > 1:
        means = [[mean(results.errors["latent"][model.name][at]).mean for model in models] for at in range(len(results.levels))]
        spreads = [f"{100 * (max(of_level) / min(of_level) - 1):.1f} %" for of_level in means]
        table.append(["largest over smallest latent error of trained models, less 1", "", *spreads])
    return table


def _bracketed(number: float | None, form: str) -> str:
    return "" if number is None else f" ({number:{form}})"


def figure(results: Restoration, rows: list[dict[str, Any]]) -> Any:
    """The errors by level, and their differences from those of the first model as shares of its mean error."""
    names = [model.name for model in results.models]
    spaces = [space for space in SPACES if results.errors.get(space)]
    positions = {level: i for i, level in enumerate(sorted(results.levels))}
    with rc_context(style.RC):
        whole = Figure(figsize=(10, 3.2 * len(spaces)), layout="constrained")
        grid = whole.subplots(len(spaces), 2, squeeze=False)
        for (left, right), space in zip(grid, spaces, strict=True):
            firsts = {row["level"]: row[f"{space}_mean"] for row in rows if row["model"] == names[0]}
            for number, name in enumerate(names):
                own = [row for row in rows if row["model"] == name]
                at = [positions[row["level"]] + 0.08 * (number - (len(names) - 1) / 2) for row in own]
                look: Any = {"fmt": "o", "color": style.PALETTE[number % len(style.PALETTE)], "capsize": 2, "label": name}
                left.errorbar(at, [row[f"{space}_mean"] for row in own], [row[f"{space}_error"] or 0 for row in own], **look)
                gap, error = (
                    [100 * (row[f"{space}_minus_first_{key}"] or 0) / firsts[row["level"]] for row in own]
                    for key in ("mean", "error")
                )
                right.errorbar(at, gap, error, **look)
            left.set(ylabel=f"{space} MSE", ylim=(0, None))
            right.set(ylabel=f"{space}: difference\nfrom {names[0]}, %")
            right.axhline(0, color="#999999", linewidth=0.8, zorder=0)
            for axes in (left, right):
                axes.set_xticks(list(positions.values()), [f"{level:g}" for level in positions])
                axes.set(xlabel="t of the noise")
        grid[0][0].set_title("bars: one standard error over images")
        grid[0][1].set_title("bars: one standard error of the difference")
        whole.legend(*grid[0][0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return whole
