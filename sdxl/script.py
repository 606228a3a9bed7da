"""Lists of commands of `python -m sdxl`, written as text with words in braces that are filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from harness.errors import Interrupted
from harness.runs import stop_requests

WORD = re.compile(r"\{(\w+)\}")


def filled(text: str, shared: Mapping[str, str], values: Mapping[str, object]) -> list[list[str]]:
    r"""The commands of a text, one on each line unless it ends in \, each as a list of arguments.

    Args: shared: arguments that several commands have, which may hold words in braces; values: what those words stand for. A
    value is one argument or a part of one, even if it has spaces in it.
    """
    lines = WORD.sub(lambda name: shared.get(name[1], name[0]), text.replace("\\\n", "")).splitlines()
    return [[WORD.sub(lambda name: str(values[name[1]]), word) for word in line.split()] for line in lines if line]


def run(commands: Sequence[Sequence[str]]) -> None:
    """Run the commands one after the other, each under its number and the line that a user would type.

    Raises: Interrupted if one was asked to stop.
    """
    from sdxl.__main__ import main

    with stop_requests() as stopping:
        for number, words in enumerate(commands, 1):
            print(f"\n# {number} of {len(commands)}\n$ python -m sdxl {shlex.join(words)}", flush=True)
            main(list(words))
            if stopping() and number < len(commands):
                raise Interrupted(f"{number} of {len(commands)} commands are done")
