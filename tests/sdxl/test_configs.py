"""The shipped configs: the paper's settings where it states them, and commands that are commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from harness.config import parse
from sdxl.corrupt.options import CorruptOptions
from sdxl.mini.command import MiniOptions
from sdxl.train.options import TrainOptions

FOLDER = Path(__file__).parents[2] / "sdxl/configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))
WEIGHTS = {  # App. B; of clean data, and of the other sets at t_n = 500, by analogy
    **{f"ffhq_{t_n}": 0.0 for t_n in (0, 100, 500, 800)},
    **{f"ffhq_{t_n}_consistency": 0.01 for t_n in (0, 100, 500)},
    "ffhq_800_consistency": 1e-4,
    **{name: 0.01 for name in ("laion10k", "brain_mri", "chest_xray")},
}
CLASSES = {"corrupt": CorruptOptions, "train": TrainOptions, "mini": MiniOptions}


def read(words: list[str]) -> TrainOptions:
    return parse(TrainOptions, words, prog="train", description="")


def commands(text: str) -> list[list[str]]:
    """What follows `-m sdxl` in comments."""
    return [shlex.split(line) for line in re.findall(r"^#   .*-m sdxl (.*)$", text, re.MULTILINE)]


def test_all_that_is_promised_is_there():
    assert {path.stem for path in CONFIGS} == {*WEIGHTS, "laptop"}


@pytest.mark.parametrize("name", WEIGHTS)
def test_settings_are_those_of_the_paper(name):
    config = read(["--config", str(FOLDER / f"{name}.yaml")])
    assert (config.rank, config.batch, config.steps, config.learning_rate) == (4, 16, 200_000, 1e-5)
    assert (config.weight_decay, config.dtype, config.space) == (0.01, "bfloat16", "x_n")
    assert config.weight == WEIGHTS[name]
    if config.weight:
        assert (config.consistency_from, config.fraction) == (150_000, 1.0)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_comments_hold_the_commands(path, monkeypatch):
    """Which make the set that the config trains on, at the level of its name, and train by this very file."""
    monkeypatch.chdir(FOLDER.parents[1])
    found = {}
    for command, *words in commands(path.read_text()):
        found[command] = parse(CLASSES[command], words, prog=command, description="")
    config = read(["--config", str(path)])
    assert found["train"] == config
    assert found["corrupt"].out == config.data
    assert found["corrupt"].base == config.base
    level = re.search(r"_(\d+)", path.stem)
    assert found["corrupt"].t_n == (int(level[1]) if level else 500)


def test_the_slurm_script_starts_training_on_every_node(tmp_path):
    for name, body in {"srun": 'printf "%s\\n" "$@"', "scontrol": "printf 'first\\nsecond\\n'"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    given = {"SLURM_JOB_NODELIST": "first,second", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_ID": "7"}
    environment = os.environ | given | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = FOLDER / "slurm.sh"
    (line,) = re.findall(r"^#   sbatch sdxl/configs/slurm.sh (.*)$", script.read_text(), re.MULTILINE)
    words = subprocess.run(
        ["bash", str(script), *shlex.split(line)], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    begin = words.index("train")
    assert words[:begin] == shlex.split(
        "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-id 7 --rdzv-backend c10d --rdzv-endpoint first:29500 -m sdxl"
    )
    config = read([word.replace("sdxl/configs", str(FOLDER)) for word in words[begin + 1 :]])
    assert config == read(["--config", str(FOLDER / "ffhq_500.yaml"), "--time-limit", "1430"])
