"""Directories of all commands, as `python -m sdxl rehearse` makes them, but smaller."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sdxl.__main__ import main
from sdxl.model.base import Base
from sdxl.rehearse import RehearseOptions, prepare, stages

SHOWN = ("noisy", "plain", "consistent", "posterior", "restoration", "fid", "masked", "memory", "memory_masked")
SHOWN += ("samples_base", "samples_plain", "samples_consistent", "prompts_plain", "attack_plain", "attack_consistent")
MADE = {*SHOWN, "control_plain", "control_consistent", "masked_control"}


def make(out: Path, tiny_base: Base) -> Path:
    """All of MADE, in `out`."""
    smaller = {"128": "64", "10": "2", "6": "5"}
    less = {"train": ["--validate-every", "0"], "corrupt": ["--images", "6"]}
    less |= {"noise": ["--t", "900"], "restoration": ["--levels", "900", "--images", "2"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXACT_AMBIENT_CACHE", str(out / "cache"))
        shutil.copytree(tiny_base.folder, out / "tiny")
        prepare(out)
        (out / "prompts.txt").write_text("a cat\nthe moon")
        for words in stages(RehearseOptions(out=str(out), steps=1, images=5)):
            name = Path(words[-1]).name
            if name in MADE:
                words = [smaller.get(word, word) for word in words] + less.get(words[0], []) + less.get(words[1], [])
                main(memory(out) if name == "memory" else words)
    return out


def memory(out: Path) -> list[str]:
    """Samples beside attacks on one LoRA, without controls: Figs. 8 and 10 at once."""
    images = [f"{out}/{name}" for name in ("attack_plain", "attack_consistent", "samples_plain")]
    others = ["--training", f"{out}/attacked", "--held-out", "photographs", "--held-out-split", "held_out", "--extractor", "tiny"]
    return ["evaluate", "memorization", "--images", *images, *others, "--out", f"{out}/memory"]
