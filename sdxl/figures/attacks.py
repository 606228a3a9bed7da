"""Figs. 1, 2, 3, 8, 9, 10: what the attacks found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdxl.evaluate.memorization.figure import Line, histograms
from sdxl.evaluate.memorization.measure import GENERATED
from sdxl.evaluate.memorization.table import controlled
from sdxl.evaluate.results import Difference
from sdxl.figures import drawing
from sdxl.figures.compared import apart, drawn, lines, named, shares, warning
from sdxl.figures.runs import MASK, MEMORY, NOISE, SAMPLES, Missing, RunFound, Runs, Shown

if TYPE_CHECKING:
    from sdxl.figures.options import FiguresOptions

UNKNOWN = "unknown"  # the model behind a folder that is no longer there
Panels = dict[str, list[Line]]


def masked(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 1."""
    return _strips(runs, MASK, "masked", 4, "a masking attack")


def noised(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 2."""
    return _strips(runs, NOISE, "noised", 2, "a noise attack")


def _strips(runs: Runs, kind: str, name: str, count: int, what: str) -> Shown | Missing:
    found = [one for one in runs.of(kind) if one.strips()]
    if not found:
        return Missing(what)
    pictures = {f"{name}_{i}": drawing.together(one.strips()[:count]) for i, one in enumerate(found)}
    captions = {f"{name}_{i}": f"`{one.label}`: an attack{_levels(one)} on {runs.model_of(one)}." for i, one in enumerate(found)}
    return Shown(pictures, found, captions)


def _levels(found: RunFound) -> str:
    levels = map(str, found.config.t) if found.kind == NOISE else ()
    return f" at t = {', '.join(levels)}" if found.kind == NOISE else ""


def attack_and_samples(runs: Runs, config: FiguresOptions, *, fine_tuned: bool) -> Shown | Missing:
    """Figs. 3 and 10: what plain samples of a model show of its training images, and what an attack on it does."""
    panels, tables, used, remarks = Panels(), {}, [], []
    for memory in runs.of(MEMORY):
        behind = runs.behind(memory)
        models = {name: one.model if one else UNKNOWN for name, one in behind.items()}
        for model in dict.fromkeys(models.values()):
            names = [name for name in models if models[name] == model]
            keys = [(row.model, row.kind) for row in memory.about.models if row.model in names and drawn(row.kind)]
            both = len({kind for _, kind in keys}) > 1 and GENERATED in {kind for _, kind in keys}
            if not both or fine_tuned != (model not in (None, UNKNOWN)):
                continue
            title = f"{runs.model_of(behind[names[0]])} ({memory.label})"
            panels[title] = lines(memory, {key: f"{named(key[1])}, {key[0]}" for key in keys})
            tables[f"`{memory.label}`, {runs.model_of(behind[names[0]])}"] = shares(memory, keys)
            remarks += warning(memory)
            used += [memory, *(one for one in behind.values() if one and one.model == model)]
    if not panels:
        of = "one LoRA" if fine_tuned else "the base alone"
        return Missing(f"a comparison of plain samples and of an attack, both of {of}")
    name = "attack_and_samples_tuned" if fine_tuned else "attack_and_samples"
    return Shown({name: histograms(panels)}, _once(used), tables=tables, remarks=tuple(remarks))


def two_models(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 8."""
    panels, tables, used, remarks = Panels(), {}, [], []
    for memory, pairs in _comparisons(runs):
        behind = runs.behind(memory)
        for kind in dict.fromkeys(row.kind for row in pairs):
            names = dict.fromkeys(name for row in pairs if row.kind == kind for name in (row.model, row.less))
            labels = {(name, kind): f"{name}: {runs.model_of(behind[name])}" for name in names}
            panels[f"{kind} ({memory.label})"] = lines(memory, labels)
        tables[f"`{memory.label}`"] = apart(pairs)
        remarks += warning(memory)
        used += [memory, *(one for one in behind.values() if one and one.kind == NOISE)]
    if not panels:
        return Missing("the same attack, with one seed, on two models, compared image by image")
    return Shown({"two_models": histograms(panels)}, _once(used), tables=tables, remarks=tuple(remarks))


def _comparisons(runs: Runs) -> list[tuple[RunFound, list[Difference]]]:
    """Pairs of models, each comparison of the same images with the same ones once: where it has controls, if it has any."""
    seen, found = set(), []
    for memory in sorted(runs.of(MEMORY), key=lambda one: not controlled(one.about)):
        identity, names, kept = memory.about.identity, memory.about.names, []
        for row in memory.about.differences:
            what = (row.kind, names[row.model], names[row.less], identity["training"], identity["extractor"])
            if drawn(row.kind) and what not in seen:
                kept.append(row)
                seen.add(what)
        found += [(memory, kept)] if kept else []
    return found


def filled(runs: Runs, config: FiguresOptions) -> Shown | Missing:
    """Fig. 9."""
    panels, tables, used, remarks = Panels(), {}, [], []
    for memory in runs.of(MEMORY):
        behind = runs.behind(memory)
        keys = [(row.model, row.kind) for row in memory.about.models if (one := behind[row.model]) and one.kind == MASK]
        if keys:
            panels[memory.label] = lines(memory, {key: f"{key[0]}, {key[1]}" for key in keys})
            tables[f"`{memory.label}`"] = shares(memory, keys)
            remarks += warning(memory)
            used += [memory, *(one for one in behind.values() if one and one.kind == MASK)]
    if not panels:
        return Missing("similarities of what a masking attack has filled in")
    return Shown({"filled": histograms(panels)}, _once(used), tables=tables, remarks=tuple(remarks))


def _once(found: list[RunFound]) -> list[RunFound]:
    return list({one.folder: one for one in found if one.kind in (MEMORY, NOISE, MASK, SAMPLES)}.values())
