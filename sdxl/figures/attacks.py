"""Figs. 1, 2, 3, 8, 9, 10: what the attacks found."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sdxl.evaluate.copying import COPY
from sdxl.evaluate.matches import GENERATED, HELD_OUT
from sdxl.evaluate.shown import said
from sdxl.figures import drawing
from sdxl.figures.found import MASK, MEMORY, NOISE, SAMPLES, Found, Runs
from sdxl.figures.outcome import Missing, Shown

if TYPE_CHECKING:
    from sdxl.figures import Config

COMPARE = "python -m sdxl evaluate memorization --images {images} --training DATA --held-out OTHERS --out memory"
SHARES = f"Shares above {COPY:g}, with intervals of 95 %."
UNKNOWN = "unknown"  # the model behind a folder that is no longer there
Panels = dict[str, dict[str, list[float]]]


def masked(runs: Runs, config: Config) -> Shown | Missing:
    """Fig. 1."""
    lora = runs.one("training", "run")
    command = f"python -m sdxl attack mask --data DATA --captions --lora {lora} --out masked"
    columns = "Columns: the image, what was hidden, what came back."
    return _strips(runs, MASK, "masked", 4, columns, Missing("a masking attack", [command]))


def noised(runs: Runs, config: Config) -> Shown | Missing:
    """Fig. 2."""
    command = f"python -m sdxl attack noise --data DATA --lora {runs.one('training', 'run')} --out attacked"
    columns = "Columns: the image, its latent as RGB, the noisy latent, one step (the MMSE estimate), samples; a row a level."
    return _strips(runs, NOISE, "noised", 2, columns, Missing("a noise attack", [command]))


def _strips(runs: Runs, kind: str, name: str, count: int, columns: str, missing: Missing) -> Shown | Missing:
    found = [one for one in runs.of(kind) if one.strips()]
    if not found:
        return missing
    pictures = {f"{name}_{i}": drawing.below(one.strips()[:count]) for i, one in enumerate(found)}
    which = [f"`{one.label}`, an attack on {runs.model_of(one)}{_levels(one)}" for one in found]
    return Shown(f"{columns} In the order of the pictures: {'; '.join(which)}. What is a copy is for the eye to judge here; "
                 "Figs. 3 and 8 to 10 count.", pictures, found)  # fmt: skip


def _levels(found: Found) -> str:
    levels = [f"{t:g}" for t in found.config.get("t", [])]
    return f" at t = {', '.join(levels)}" if levels else ""


def attack_and_samples(runs: Runs, config: Config, *, fine_tuned: bool) -> Shown | Missing:
    """Figs. 3 and 10: what plain samples of a model show of its training images, and what an attack on it does."""
    panels, told, used = Panels(), [], []
    for memory in runs.of(MEMORY):
        behind, lines = runs.behind(memory), _lines(memory)
        models = {name: one.model if one else UNKNOWN for name, one in behind.items()}
        for model in dict.fromkeys(models.values()):
            names = [name for name in models if models[name] == model]
            kinds = [it for row in memory.about["models"] if (it := (row["model"], row["kind"]))[0] in names and _drawn(it[1])]
            both = len({kind for _, kind in kinds}) > 1 and GENERATED in {kind for _, kind in kinds}
            if not both or fine_tuned != (model not in (None, UNKNOWN)):
                continue
            title = runs.model_of(behind[names[0]])
            panels[f"{title} ({memory.label})"] = _baseline(lines) | {
                f"{'plain samples' if kind == GENERATED else kind}, {name}": lines[name, kind] for name, kind in kinds
            }
            told.append(f"{title[0].upper()}{title[1:]}: {_shares(memory, kinds)}")
            used += [memory, *(one for one in behind.values() if one and one.model == model)]
    if not panels:
        lora = f" --lora {runs.one('training', 'run')}" if fine_tuned else ""
        whose = "one LoRA" if fine_tuned else "the base alone"
        return Missing(f"a comparison of plain samples and of an attack, both of {whose}", [
            f"python -m sdxl attack noise --data DATA{lora} --out attacked",
            f"python -m sdxl generate{lora} --prompts CAPTIONS --images 10000 --out samples",
            COMPARE.format(images="attacked samples"),
        ])  # fmt: skip
    name = "attack_and_samples_tuned" if fine_tuned else "attack_and_samples"
    return Shown(f"{SHARES} {' '.join(told)}", {name: drawing.histograms(panels)}, _once(used))


def two_models(runs: Runs, config: Config) -> Shown | Missing:
    """Fig. 8."""
    panels, told, used = Panels(), [], []
    for memory in runs.of(MEMORY):
        behind, lines = runs.behind(memory), _lines(memory)
        pairs = [row for row in memory.about["differences"] if _drawn(row["kind"])]
        for kind in dict.fromkeys(row["kind"] for row in pairs):
            names = [row["model"] for row in memory.about["models"] if row["kind"] == kind]
            panels[f"{kind} ({memory.label})"] = _baseline(lines) | {
                f"{part}: {runs.model_of(behind[name])}" if part == name else part: lines[part, kind]
                for name in names
                for part in (name, f"control of {name}")
                if (part, kind) in lines
            }
        told += [apart(row) for row in pairs]
        used += [memory, *(one for one in behind.values() if one and one.kind == NOISE)] if pairs else []
    if not panels:
        return Missing("the same attack, with one seed, on two models, compared image by image", [
            "python -m sdxl attack noise --data DATA --lora CLEAN_RUN --t 900 --out attacked_clean",
            f"python -m sdxl attack noise --data DATA --lora {runs.one('training', 'run')} --t 900 --out attacked_noisy",
            COMPARE.format(images="attacked_clean attacked_noisy"),
        ])  # fmt: skip
    return Shown(" ".join(told), {"two_models": drawing.histograms(panels)}, _once(used))


def filled(runs: Runs, config: Config) -> Shown | Missing:
    """Fig. 9."""
    panels, told, used = Panels(), [], []
    for memory in runs.of(MEMORY):
        behind, lines = runs.behind(memory), _lines(memory)
        rows = [row for row in memory.about["models"] if (one := behind[row["model"]]) and one.kind == MASK]
        if rows:
            parts = [(row["model"], row["kind"]) for row in rows]
            parts += [(f"control of {name}", kind) for name, kind in parts if (f"control of {name}", kind) in lines]
            panels[memory.label] = _baseline(lines) | {f"{name}, {kind}": lines[name, kind] for name, kind in parts}
            told.append(_shares(memory, [(row["model"], row["kind"]) for row in rows]))
            used += [memory, *(one for one in behind.values() if one and one.kind == MASK)]
    if not panels:
        return Missing("similarities of what a masking attack has filled in", [
            f"python -m sdxl attack mask --data DATA --captions --lora {runs.one('training', 'run')} --out masked",
            COMPARE.format(images=runs.one(MASK, "masked")),
        ])  # fmt: skip
    return Shown(f"{SHARES} {' '.join(told)}", {"filled": drawing.histograms(panels)}, _once(used))


def _drawn(kind: str) -> bool:
    """One step understates memory: samples are what is compared."""
    return not kind.endswith("one step")


def _lines(memory: Found) -> dict[tuple[str, str], list[float]]:
    """{(images, kind): similarities}."""
    found = defaultdict(list)
    for row in memory.similarities():
        found[row["images"], row["kind"]].append(float(row["similarity"]))
    return found


def _baseline(lines: dict[tuple[str, str], list[float]]) -> dict[str, list[float]]:
    return {HELD_OUT: lines[HELD_OUT, ""]} if (HELD_OUT, "") in lines else {}


def _shares(memory: Found, kinds: list[tuple[str, str]]) -> str:
    found = {(row["model"], row["kind"]): row for row in memory.about["models"]}
    told = [f"{'plain samples' if kind == GENERATED else kind} {said(found[name, kind]['copies'])}" for name, kind in kinds]
    baseline = memory.about["baselines"].get(HELD_OUT)
    told += [f"held-out images {said(baseline['copies'])}"] if baseline else []
    return "; ".join(told) + "."


def apart(row: dict[str, Any]) -> str:
    """Two models, and whether they are told apart."""
    low, high = row["similarity"]["interval"]
    word = "lies further right than" if low > 0 else "lies further left than" if high < 0 else "is not told apart from"
    return (
        f"At {row['kind']}: `{row['model']}` {word} `{row['less']}`, mean similarity {row['similarity']['mean']:+.3f} "
        f"({low:+.3f} to {high:+.3f}, image by image)."
    )


def _once(found: list[Found]) -> list[Found]:
    return list({one.folder: one for one in found if one.kind in (MEMORY, NOISE, MASK, SAMPLES)}.values())
