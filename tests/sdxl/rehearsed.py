"""Directories of all commands, as `python -m sdxl rehearse` makes them, but smaller."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdxl.__main__ import main
from sdxl.mini import shipped
from sdxl.rehearse import RehearseOptions, prepare, stages
from sdxl.reproduce.experiments import FEATURES

SHOWN = ("noisy", "plain", "consistent", "posterior", "restoration", "fid", "masked", "memory", "memory_masked")
SHOWN += ("samples_base", "samples_plain", "samples_consistent", "prompts_plain", "attack_plain", "attack_consistent")
MADE = {*SHOWN, "control_plain", "control_consistent", "masked_control"}


def make(out: Path) -> Path:
    """All of MADE, in `out`."""
    less = {"train": ["--validate-every", "0"], "corrupt": ["--images", "6"], "generate": ["--steps", "2"]}
    less |= {"noise": ["--t", "900", "--steps", "2"], "mask": ["--steps", "2"]}
    less |= {"restoration": ["--levels", "900", "--images", "2"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXACT_AMBIENT_CACHE", str(out / "cache"))
        prepare(out)
        shipped.ensure(out / "mini")
        (out / "prompts.txt").write_text("a cat\nthe moon")
        for words in stages(RehearseOptions(out=str(out), steps=1, images=5)):
            name = Path(words[-1]).name
            if name in MADE:
                more = less.get(words[0], []) + less.get(words[1], [])
                main(memory(out) if name == "memory" else words + more)
    return out


def memory(out: Path) -> list[str]:
    """Samples beside attacks on one LoRA, without controls: Figs. 8 and 10 at once."""
    images = [f"{out}/{name}" for name in ("attack_plain", "attack_consistent", "samples_plain")]
    training = ["--training", f"{out}/attacked", "--training-split", "train"]
    held_out = ["--held-out", f"{out}/attacked", "--held-out-split", "held_out"]
    return [
        "evaluate",
        "memorization",
        "--images",
        *images,
        *training,
        *held_out,
        "--extractor",
        FEATURES,
        "--out",
        f"{out}/memory",
    ]
