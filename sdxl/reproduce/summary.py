"""What all seeds have found, beside the paper: Table 1, Fig. 4 and Fig. 8 as tables, and the page that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness import page, records
from harness.files import write_atomically
from harness.statistics import Mean, mean
from harness.tables import markdown
from sdxl.evaluate.restoration.measure import BASE
from sdxl.evaluate.results import Distances, Memorization, Restoration
from sdxl.reproduce.experiments import LEVELS

CLEAN = "clean"  # the model that was trained on clean digits
PAPER = {  # Table 1: latent errors at t = 900, 800, 500, 100, by the level of the training data
    100: (0.3369, 0.2974, 0.2153, 0.0405),
    500: (0.3377, 0.2978, 0.2159, 0.0409),
    800: (0.3375, 0.3001, 0.2182, 0.0411),
}
FINE_TUNED = {CLEAN: "fine-tuned on clean digits"}
FINE_TUNED |= {f"plain_{t_n}": f"noisy digits, t_n = {t_n}, without consistency" for t_n in LEVELS}
FINE_TUNED |= {f"consistent_{t_n}": f"noisy digits, t_n = {t_n}, with consistency" for t_n in LEVELS}
UNTOUCHED = "the base, not fine-tuned"
MODELS = FINE_TUNED | {BASE: UNTOUCHED}
SETS = {"samples_base": UNTOUCHED} | {f"samples_{name}": words for name, words in FINE_TUNED.items()}
SETS |= {f"stopped_{t_n}": f"noisy digits, t_n = {t_n}, without consistency, early stop" for t_n in LEVELS}


class Found(NamedTuple):
    """The results of one seed."""

    restoration: Restoration
    distances: Distances
    memorization: Memorization


def read(run: Path) -> Found:
    """The results in the directories of one seed. Raises: UserError if one is missing or damaged."""
    kinds = {"restoration": Restoration, "fid": Distances, "memory": Memorization}
    return Found(*(records.read(run / name / "results.json", kind) for name, kind in kinds.items()))


def table_1(found: Sequence[Found]) -> list[list[str]]:
    """Latent errors of each model at each level, with the difference from the model of clean digits in percent."""
    levels = found[0].restoration.levels
    table = [["model", *(f"t = {level:g}" for level in levels)]]
    for model in found[0].restoration.models:
        cells = []
        for at in range(len(levels)):
            errors = [each.restoration.errors["latent"] for each in found]
            own, clean = ([mean(of_seed[name][at]).mean for of_seed in errors] for name in (model.name, CLEAN))
            more = mean([100 * (a / b - 1) for a, b in zip(own, clean, strict=True)])
            cells.append(f"{with_error(mean(own), '.4f')} [{with_error(more, '+.1f')} %]")
        table.append([MODELS[model.name], *cells])
    return table


def paper_table_1() -> list[list[str]]:
    """The paper's latent errors, with the difference from its model at t_n = 100 in percent."""
    rows = [
        [
            f"noisy photographs, t_n = {t_n}",
            *(f"{a:.4f} [{100 * (a / b - 1):+.1f} %]" for a, b in zip(errors, PAPER[100], strict=True)),
        ]
        for t_n, errors in PAPER.items()
    ]
    return [["model", "t = 900", "t = 800", "t = 500", "t = 100"], *rows]


def fig_4(found: Sequence[Found]) -> list[list[str]]:
    """Distances of the samples of each model from held-out digits, and their ratio to that of the model of clean digits."""
    table = [["samples of", "Frechet distance", "over that of clean digits", "KID x 1000"]]
    by_seed = [{row.name: row for row in each.distances.rows} for each in found]
    for name, words in SETS.items():
        frechet, kid = [rows[name].frechet for rows in by_seed], [1000 * rows[name].kid for rows in by_seed]
        ratio = mean([a / rows[f"samples_{CLEAN}"].frechet for a, rows in zip(frechet, by_seed, strict=True)])
        table.append([words, with_error(mean(frechet), ".3g"), with_error(ratio, ".2f"), with_error(mean(kid), ".3g")])
    floors = [each.distances.floors[0] for each in found]
    floor = [
        with_error(mean([of.frechet for of in floors]), ".3g"),
        "",
        with_error(mean([1000 * of.kid for of in floors]), ".3g"),
    ]
    return [*table, [f"floor: {floors[0].images} held-out digits to {floors[0].others} others", *floor]]


def fig_8(found: Sequence[Found]) -> list[list[str]]:
    """How much nearer to its training digits an attack comes on the model of clean digits than on that of noisy ones."""
    table = [["seed", "attack", "difference of mean similarity (95 % interval)"]]
    for seed, each in enumerate(found):
        for row in each.memorization.differences:
            low, high = row.similarity.interval
            table.append([str(seed), row.kind, f"{row.similarity.mean:+.3f} ({low:+.3f} to {high:+.3f})"])
    return table


def with_error(value: Mean, form: str) -> str:
    """A mean with its standard error, if there is one."""
    return f"{value.mean:{form}}" + (f" +- {value.error:{form.replace('+', '')}}" if value.error is not None else "")


def write(out: Path, seeds: int, about: dict[str, Any]) -> None:
    """Write table.md and report.html. `about`: what `harness.page.about_run` gives."""
    found = [read(out / f"seed_{seed}") for seed in range(seeds)]
    tables = {"table_1": table_1(found), "paper_table_1": paper_table_1(), "fig_4": fig_4(found), "fig_8": fig_8(found)}
    write_atomically(out / "table.md", "\n".join(markdown(rows) for rows in tables.values()).encode())
    page.write(out, "sdxl", "reproduced.html.j2", seeds=seeds, levels=LEVELS, **tables, **about)
