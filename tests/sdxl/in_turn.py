"""Run by torchrun: commands of `python -m sdxl` in turn, with the word `then` between. Each process says how each one ended."""

from __future__ import annotations

import os
import sys

from ambient.runs import UserError
from sdxl.__main__ import main
from sdxl.group import Group


def end_of(words: list[str]) -> str:
    """How a command ends in this process."""
    try:
        main(words)
    except UserError as error:
        return f"error: {error}"
    except SystemExit as error:
        return f"left with {error.code}"
    return "done"


if __name__ == "__main__":
    group, close = Group(), Group.close
    Group.close = lambda self: None  # the processes stay together for the next command
    for words in "\n".join(sys.argv[1:]).split("\nthen\n"):
        sys.stdout.write(f"process {os.environ['RANK']}: {end_of(words.splitlines())}\n")
        sys.stdout.flush()
    close(group)
