"""Table 1 and Figs. 1 to 4 and 8 to 10: what attacks and evaluations have found."""

from __future__ import annotations

from collections.abc import Sequence

from harness.copying import COPY
from harness.wording import several
from sdxl.evaluate.distances import table as distances_table
from sdxl.evaluate.memorization.figure import Line, histograms, panel
from sdxl.evaluate.memorization.measure import GENERATED, HELD_OUT
from sdxl.evaluate.memorization.table import has_controls, mean_and_interval, warning
from sdxl.evaluate.restoration.table import table_1
from sdxl.evaluate.results import Difference
from sdxl.figures.options import FiguresOptions
from sdxl.figures.runs import FID, MASK, MEMORY, NOISE, RESTORATION, Drawn, Missing, RunDirectory, Runs
from sdxl.images.sheets import sheet, thumbnail

UNKNOWN = "unknown"  # the model behind a folder that is not among the directories
ACROSS, WIDEST, GAP = 820, 1600, 12  # pixels of strips: those of a row together, a whole picture at most, between two
Key = tuple[str, str]  # the name of a model's images, and their kind


def masked(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 1."""
    return _strips(runs, MASK, "masked", 4, "a masking attack")


def noised(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 2."""
    return _strips(runs, NOISE, "noised", 2, "a noise attack")


def _strips(runs: Runs, kind: str, name: str, count: int, lacks: str) -> Drawn | Missing:
    """The first strips of each attack, side by side where they are narrow."""
    pictures, captions, attacks = {}, {}, [run for run in runs.of(kind) if run.strips()]
    for i, run in enumerate(attacks):
        strips = [thumbnail(file, WIDEST) for file in run.strips()[:count]]
        columns = max(1, min(len(strips), ACROSS // (strips[0].width + GAP)))
        pictures[f"{name}_{i}"] = thumbnail(sheet(strips, columns=columns, gap=GAP), WIDEST)
        levels = f" at t = {', '.join(map(str, run.config.t))}" if kind == NOISE else ""
        captions[f"{name}_{i}"] = f"`{run.label}`: an attack{levels} on {runs.model_of(run)}."
    return Drawn(pictures, attacks, captions) if attacks else Missing(lacks)


class _Histograms:
    """Panels of similarities with tables, collected from directories of `evaluate memorization`."""

    def __init__(self) -> None:
        self.panels: dict[str, list[Line]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.remarks: dict[str, None] = {}
        self.used: list[RunDirectory] = []

    def add(self, memory: RunDirectory, title: str, labels: dict[Key, str], behind: Sequence[RunDirectory | None]) -> None:
        """Add a panel with held-out images, and with the images that `labels` names beside their controls."""
        self.panels[title] = panel(memory.similarities(), labels, (HELD_OUT,))
        self.remarks |= {f"Mind that in `{memory.label}` {warned}": None for warned in [warning(memory.about)] if warned}
        self.used += [memory, *(run for run in behind if run)]

    def drawn(self, name: str, lacks: str) -> Drawn | Missing:
        """The figure; Missing without a panel."""
        if not self.panels:
            return Missing(lacks)
        return Drawn({name: histograms(self.panels)}, self.used, tables=self.tables, remarks=tuple(self.remarks))


def attack_and_samples(runs: Runs, config: FiguresOptions, *, fine_tuned: bool) -> Drawn | Missing:
    """Figs. 3 and 10: similarities of plain samples of a model, beside those of an attack on it."""
    figure = _Histograms()
    for memory in runs.of(MEMORY):
        behind = runs.behind(memory)
        models = {name: run.model if run else UNKNOWN for name, run in behind.items()}
        for model in dict.fromkeys(models.values()):
            names = [name for name in models if models[name] == model]
            keys = [(row.model, row.kind) for row in memory.about.models if row.model in names and is_compared(row.kind)]
            kinds = {kind for _, kind in keys}
            if fine_tuned == (model not in (None, UNKNOWN)) and GENERATED in kinds and len(kinds) > 1:
                described = runs.model_of(behind[names[0]])
                labels = {(name, kind): f"{_named(kind)}, {name}" for name, kind in keys}
                figure.add(memory, f"{described} ({memory.label})", labels, [behind[name] for name in names])
                figure.tables[f"`{memory.label}`, {described}"] = shares(memory, keys)
    of = "one LoRA" if fine_tuned else "the base alone"
    name = "attack_and_samples_tuned" if fine_tuned else "attack_and_samples"
    return figure.drawn(name, f"a comparison of plain samples and of an attack, both of {of}")


def two_models(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 8: the same attack on several models, compared image by image."""
    figure = _Histograms()
    for memory, pairs in _comparisons(runs):
        behind = runs.behind(memory)
        for kind in dict.fromkeys(row.kind for row in pairs):
            names = dict.fromkeys(name for row in pairs if row.kind == kind for name in (row.model, row.less))
            labels = {(name, kind): f"{name}: {runs.model_of(behind[name])}" for name in names}
            attacks = [run for run in behind.values() if run and run.kind == NOISE]
            figure.add(memory, f"{kind} ({memory.label})", labels, attacks)
        figure.tables[f"`{memory.label}`"] = differences(pairs)
    return figure.drawn("two_models", "the same attack, with one seed, on two models, compared image by image")


def _comparisons(runs: Runs) -> list[tuple[RunDirectory, list[Difference]]]:
    """The pairs of models in each directory; each comparison once, from a directory with controls if there is one."""
    known, comparisons = set(), []
    for memory in sorted(runs.of(MEMORY), key=lambda run: not has_controls(run.about)):
        identity, names, pairs = memory.about.identity, memory.about.names, []
        for row in memory.about.differences:
            comparison = (row.kind, names[row.model], names[row.less], identity["training"], identity["extractor"])
            if is_compared(row.kind) and comparison not in known:
                pairs.append(row)
                known.add(comparison)
        comparisons += [(memory, pairs)] if pairs else []
    return comparisons


def filled(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 9: similarities of filled regions."""
    figure = _Histograms()
    for memory in runs.of(MEMORY):
        attacks = {name: run for name, run in runs.behind(memory).items() if run and run.kind == MASK}
        keys = [(row.model, row.kind) for row in memory.about.models if row.model in attacks]
        if keys:
            figure.add(memory, memory.label, {key: ", ".join(key) for key in keys}, list(attacks.values()))
            figure.tables[f"`{memory.label}`"] = shares(memory, keys)
    return figure.drawn("filled", "similarities of what a masking attack has filled in")


def restored(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Table 1."""
    used = runs.of(RESTORATION)
    pictures = {f"restoration_{i}": (run.folder / "restoration.png").read_bytes() for i, run in enumerate(used)}
    tables = {f"`{run.label}`, {several(len(run.about.images), 'held-out image')}": table_1(run.about) for run in used}
    return Drawn(pictures, used, tables=tables) if used else Missing("errors of restoration")


def distances(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 4."""
    used = runs.of(FID)
    pictures = {f"distances_{i}": (run.folder / "distances.png").read_bytes() for i, run in enumerate(used)}
    tables = {f"`{run.label}`, in the features of {run.config.extractor}": distances_table.rows(run.about) for run in used}
    remarks = dict.fromkeys(distances_table.TOO_FEW for run in used if any(row.too_few_for_frechet for row in run.about.rows))
    return Drawn(pictures, used, tables=tables, remarks=tuple(remarks)) if used else Missing("distances between images and data")


def is_compared(kind: str) -> bool:
    """Whether figures show this kind of results: all but one-step restorations, which understate memorization."""
    return not kind.endswith("one step")


def _named(kind: str) -> str:
    return "plain samples" if kind == GENERATED else kind


def shares(memory: RunDirectory, keys: list[Key]) -> list[list[str]]:
    """A table with the share of almost identical matches among these images, their controls and held-out images."""
    rows = {(row.model, row.kind): row for row in memory.about.models}
    table = [["images", f"share above {COPY:g} (95 % interval)", "the same of the control"]]
    for name, kind in keys:
        row = rows[name, kind]
        control = mean_and_interval(row.control.copies) if row.control else ""
        table.append([f"{_named(kind)} of {name}", mean_and_interval(row.copies), control])
    baseline = memory.about.baselines.get(HELD_OUT)
    return [*table, [HELD_OUT, mean_and_interval(baseline.copies), ""]] if baseline else table


def differences(pairs: list[Difference]) -> list[list[str]]:
    """A table with the difference of mean similarity of each pair of models, and what its interval says."""
    table = [["at", "model", "its similarities lie", "difference of means (95 % interval)"]]
    for row in pairs:
        low, high = row.similarity.interval
        verdict = "further right than" if low > 0 else "further left than" if high < 0 else "not told apart from"
        difference = f"{signed(row.similarity.mean)} ({signed(low)} to {signed(high)})"
        table.append([row.kind, row.model, f"{verdict} {row.less}", difference])
    return table


def signed(x: float) -> str:
    """A number with three decimals and its sign: +0.012, -0.012 with a minus sign, or 0.000."""
    text = f"{x:+.3f}"
    return text.replace("-", "\u2212") if float(text) else "0.000"
