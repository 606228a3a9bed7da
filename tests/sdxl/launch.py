"""Commands of `python -m sdxl` as a user meets them: in this process, by torchrun in two, or in two that start at once."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.errors import UserError
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


SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.sdxl.warm"])


def in_two(folder: Path, *words: object) -> Answer:
    """The commands of tests/sdxl/in_turn.py in two processes, as torchrun starts them, but from one that has all imported.

    folder: where they may leave what they say.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        SERVER.Process(target=_member, args=(rank, port, dict(os.environ), folder, [*map(str, words)])) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        multiprocessing.connection.wait([process.sentinel for process in processes if process.is_alive()], timeout=240)
        if any(process.exitcode for process in processes):  # torchrun ends the others, too
            for process in processes:
                process.terminate()
    out, error = ("".join((folder / f"{kind}_{rank}").read_text() for rank in (0, 1)) for kind in ("out", "error"))
    return Answer(max(abs(process.exitcode or 0) for process in processes), out, error)


def _member(rank: int, port: int, environment: dict[str, str], folder: Path, words: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environment, ACCELERATE_USE_CPU="true", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    for number, kind in ((1, "out"), (2, "error")):
        os.dup2(os.open(folder / f"{kind}_{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["in_turn", *words]
    runpy.run_module("tests.sdxl.in_turn", run_name="__main__")
