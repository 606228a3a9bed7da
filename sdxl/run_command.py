"""What the commands share."""

from __future__ import annotations

import logging
import os
import warnings


def quiet() -> None:
    """No bars, no advice from libraries: what a user must know, we say."""
    import diffusers
    import transformers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)  # its errors are raised too
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*torchvision.*")
