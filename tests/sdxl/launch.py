"""Commands of `python -m sdxl` as a user meets them: in this process, or by torchrun in two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ambient.runs import UserError
from sdxl.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


class Answer(NamedTuple):
    """What a command left on the terminal."""

    code: int
    out: str
    error: str


def refusal(*words: object) -> str:
    """The one line with which `python -m sdxl WORDS` is refused."""
    with pytest.raises(UserError) as caught:
        main([str(word) for word in words])
    message = str(caught.value)
    assert "\n" not in message or "---" in message  # only a diff of configs has more lines
    return message


def on_two(*words: object) -> Answer:
    """`torchrun --nproc-per-node 2 WORDS`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *map(str, words)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)
