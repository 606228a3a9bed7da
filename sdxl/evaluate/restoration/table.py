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

SPACES = ("latent", "pixel")
NOTE = "Mean (standard deviation over images); s.e.: standard error. Differences are those of pairs: same image, same noise."


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
    tables.write(out, replace(results, rows=tuple(rows), pairs=tuple(pairs)), readable(results, rows), rows)
    tables.save(figure(results, rows), out / "restoration.png")


def readable(results: Restoration, rows: list[dict[str, Any]]) -> str:
    """table.md."""
    spaces = [space for space in SPACES if results.errors.get(space)]
    first = rows[0]["model"]
    heads = [f"{space} {of}" for space in spaces for of in ("MSE", "s.e.", f"minus {first}", "s.e. of that")]
    table = [["level", "model", "its t_n", *heads]]
    for row in rows:
        cells = [f"{row['level']:g}", row["model"], "" if row["t_n"] is None else f"{row['t_n']:g}"]
        for space in spaces:
            gap = "" if row["model"] == first else f"{row[f'{space}_minus_first_mean']:+.2g}"
            cells += [mean_and_std(row, space), _short(row[f"{space}_error"])]
            cells += [gap, _short(row[f"{space}_minus_first_error"]) if gap else ""]
        table.append(cells)
    alone = results.vae_alone
    vae = f" The pixel MSE of the VAE alone, with nothing to restore, is {alone['mean']:.4f}." if alone else ""
    return f"{markdown(table)}\n{several(len(results.images), 'held-out image')}. {NOTE}{vae}\n"


def mean_and_std(row: dict[str, Any], space: str) -> str:
    """The mean of an error, and its standard deviation over images if there are several."""
    std = row[f"{space}_std"]
    return f"{row[f'{space}_mean']:.4f}" + ("" if std is None else f" ({std:.4f})")


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.2g}"


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
