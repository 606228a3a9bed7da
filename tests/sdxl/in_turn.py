"""Run by torchrun: commands of `python -m sdxl` in turn, with the word `then` between. Each process says how each one ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.errors import UserError
from sdxl.__main__ import main
from sdxl.parallel import Group


def end_of(words: list[str]) -> str:
    """How a command ends in this process."""
    try:
        main(words)
    except UserError as error:
        return f"error: {error}"
    except SystemExit as error:
        return f"left with {error.code}"
    return "done"


def threads() -> list[str]:
    """The names of the threads of a group that run in this process."""
    with suppress(OSError):  # one ended while we looked
        return [name for task in Path("/proc/self/task").glob("*/comm") if "gloo" in (name := task.read_text().strip())]
    return threads()


def leave(group: Group, close: Callable[[Group], None] = Group.close) -> None:
    """Close the group; exit with 1 if its threads outlive it: such a one may abort the process as that ends."""
    close(group)
    patience = time.monotonic() + 5  # the system lists a thread that has ended for a moment
    while left := threads():
        if time.monotonic() > patience:
            sys.exit(f"threads of the group outlive it: {left}")


if __name__ == "__main__":
    group, close = Group(), Group.close
    Group.close = lambda self: None  # the processes stay together for the next command
    for words in "\n".join(sys.argv[1:]).split("\nthen\n"):
        sys.stdout.write(f"process {os.environ['RANK']}: {end_of(words.splitlines())}\n")
        sys.stdout.flush()
    leave(group, close)
