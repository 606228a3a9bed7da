"""How every command that measures, trains or generates begins."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from harness.config import parse
from sdxl.parallel import Group


@contextmanager
def started(options_class: type, argv: list[str], command: str, description: str | None) -> Iterator[tuple[Any, Group]]:
    """The options that `argv` gives to `python -m sdxl COMMAND`, and the group of its processes, which ends with the block.

    description: the docstring of the command's module, shown by --help. Raises: as `parse`.
    """
    config = parse(options_class, argv, prog=f"python -m sdxl {command}", description=description or "")
    quiet()
    group = Group()
    with closing(group):
        yield config, group


def quiet() -> None:
    """Turn off the progress bars and the advice of libraries; our own messages say what a user must know."""
    import diffusers
    import transformers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)  # its errors are also raised
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*torchvision.*")
