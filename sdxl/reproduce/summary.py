"""What all seeds have found, beside the paper: Table 1, Fig. 4 and Fig. 8 as tables, and the page that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness import page, records
from harness.files import write_atomically
from harness.statistics import mean
from harness.tables import markdown, with_error
from sdxl.evaluate.memorization.table import mean_and_interval
from sdxl.evaluate.restoration.measure import BASE
from sdxl.evaluate.results import Distances, Memorization, Restoration
from sdxl.reproduce.experiments import FEATURES, LEVELS
from sdxl.reproduce.options import ReproduceOptions

PAPER_RATE, PAPER_STEPS = 1e-5, 200_000  # App. B
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
    """Distances of the samples of each model from held-out digits, and their ratios to those of the model of clean digits."""
    table = [["samples of", "Frechet distance", "over that of clean digits", "KID x 1000", "over that of clean digits"]]
    by_seed = [{row.name: row for row in each.distances.rows} for each in found]
    for name, words in SETS.items():
        cells = []
        for key, scale, form in (("frechet", 1, ".3g"), ("kid", 1000, ".3g")):
            own, clean = ([scale * getattr(rows[of], key) for rows in by_seed] for of in (name, f"samples_{CLEAN}"))
            ratio = mean([a / b for a, b in zip(own, clean, strict=True)])
            cells += [with_error(mean(own), form), with_error(ratio, ".2f")]
        table.append([words, *cells])
    floors = [each.distances.floors[0] for each in found]
    frechet, kid = (mean([getattr(of, key) for of in floors]) for key in ("frechet", "kid"))
    name = f"floor: {floors[0].images} held-out digits to {floors[0].others} others"
    return [*table, [name, with_error(frechet, ".3g"), "", f"{1000 * kid.mean:.3g}", ""]]


def fig_8(found: Sequence[Found]) -> list[list[str]]:
    """Similarities of an attack to the training digits beyond those of its control, and their difference, for each seed."""
    table = [
        [
            "seed",
            "attack on the model of",
            "similarity beyond the control",
            "share memorized",
            "similarity beyond that of noisy digits",
        ]
    ]
    for seed, each in enumerate(found):
        differences = {row.kind: row.similarity for row in each.memorization.differences}
        for row in each.memorization.models:
            beyond = row.beyond_control
            assert beyond is not None, row
            kind = f"{'clean' if row.model == 'attack_clean' else 'noisy'} digits, {row.kind}"
            difference = mean_and_interval(differences[row.kind]) if row.model == "attack_clean" else ""
            table.append([str(seed), kind, mean_and_interval(beyond.similarity), mean_and_interval(beyond.memorised), difference])
    return table


def write(out: Path, config: ReproduceOptions, about: dict[str, Any]) -> None:
    """Write table.md and report.html. `about`: what `harness.page.about_run` gives."""
    found = [read(out / f"seed_{seed}") for seed in range(config.seeds)]
    tables = {"table_1": table_1(found), "paper_table_1": paper_table_1(), "fig_4": fig_4(found), "fig_8": fig_8(found)}
    write_atomically(out / "table.md", "\n".join(markdown(rows) for rows in tables.values()).encode())
    ratios = {"rate": config.learning_rate / PAPER_RATE, "steps": config.steps / PAPER_STEPS}
    page.write(out, "sdxl", "reproduced.html.j2", ratios=ratios, levels=LEVELS, features=FEATURES, **tables, **about)
