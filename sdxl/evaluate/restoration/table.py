"""Table 1 and its figure: errors at each level and for each model, with their differences in pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import style
from harness.statistics import Mean, difference, mean
from harness.tables import markdown
from sdxl.evaluate import tables
from sdxl.evaluate.results import Restoration

SPACES = ("latent", "pixel")


def rows_of(results: Restoration) -> list[dict[str, Any]]:
    """A row for each level and model: both errors, and how they differ from the first model's, in pairs."""
    rows = []
    for at, level in enumerate(results.levels):
        for model in results.models:
            row: dict[str, Any] = {"level": level, "model": model.name, "t_n": model.t_n, "weight": model.weight}
            for space, of in results.errors.items():
                if not of:
                    continue
                first = next(iter(of.values()))[at]
                for name, found in (
                    (space, mean(of[model.name][at])),
                    (f"{space}_minus_first", difference(of[model.name][at], first)),
                ):
                    row |= {f"{name}_{key}": value for key, value in found._asdict().items()}
            rows.append(row)
    return rows


def write(out: Path, results: Restoration) -> None:
    """results.json with all pairs, tables, the figure."""
    rows, pairs = rows_of(results), []
    names = [model.name for model in results.models]
    for space, of in results.errors.items():
        for at, level in enumerate(results.levels if of else []):
            for i, one in enumerate(names):
                for other in names[i + 1 :]:
                    found = difference(of[other][at], of[one][at])
                    pairs.append({"space": space, "level": level, "model": other, "minus": one, **found._asdict()})
    tables.write(out, replace(results, rows=tuple(rows), pairs=tuple(pairs)), told(results, rows), rows)
    tables.save(figure(results, rows), out / "restoration.png")


def told(results: Restoration, rows: list[dict[str, Any]]) -> str:
    """The table for readers."""
    shown, spaces = [], [space for space in SPACES if results.errors.get(space)]
    for row in rows:
        cells = {"level": f"{row['level']:g}", "model": row["model"], "its t_n": "" if row["t_n"] is None else f"{row['t_n']:g}"}
        for space in spaces:
            found = Mean(*(row[f"{space}_{key}"] for key in Mean._fields))
            against = Mean(*(row[f"{space}_minus_first_{key}"] for key in Mean._fields))
            cells[f"{space} MSE"] = f"{found.mean:.4f}" + ("" if found.std is None else f" ({found.std:.4f})")
            cells[f"{space} s.e."] = "" if found.error is None else f"{found.error:.2g}"
            spread = "" if against.error is None else f" +- {against.error:.1g}"
            cells[f"{space} minus first's"] = "" if row["model"] == rows[0]["model"] else f"{against.mean:+.2g}{spread}"
        shown.append(cells)
    count, alone = len(results.images), results.vae_alone
    words = (
        f"{count} held-out image{'s' * (count != 1)}. Mean (standard deviation over images); s.e.: standard error of the mean. "
    )
    words += f"Differences from {rows[0]['model']} in pairs, same image and noise, +- one standard error of the difference.\n"
    floor = f"The VAE alone, with nothing to restore, has a pixel MSE of {alone['mean']:.4f}.\n" if alone else ""
    return f"{markdown([shown[0], *(cells.values() for cells in shown)])}\n{words}{floor}"


def figure(results: Restoration, rows: list[dict[str, Any]]) -> Any:
    """Errors by level, and the differences from the first model over its error."""
    names = [model.name for model in results.models]
    spaces = [space for space in SPACES if results.errors.get(space)]
    positions = {level: i for i, level in enumerate(sorted(results.levels))}
    with tables.rc_context(style.RC):
        whole = tables.Figure(figsize=(10, 3.2 * len(spaces)), layout="constrained")
        grid = whole.subplots(len(spaces), 2, squeeze=False)
        for (left, right), space in zip(grid, spaces, strict=True):
            firsts = {row["level"]: row[f"{space}_mean"] for row in rows if row["model"] == names[0]}
            for number, name in enumerate(names):
                own = sorted((row for row in rows if row["model"] == name), key=lambda row: row["level"])
                colour = style.PALETTE[number % len(style.PALETTE)]
                at = [positions[row["level"]] + 0.08 * (number - (len(names) - 1) / 2) for row in own]
                look: Any = {"fmt": "o", "color": colour, "capsize": 2, "label": name}
                left.errorbar(at, [row[f"{space}_mean"] for row in own], [row[f"{space}_error"] or 0 for row in own], **look)
                shares = [
                    [100 * (row[f"{space}_minus_first_{key}"] or 0) / firsts[row["level"]] for row in own]
                    for key in ("mean", "error")
                ]
                right.errorbar(at, *shares, **look)
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
