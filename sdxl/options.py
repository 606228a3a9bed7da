"""Options that several commands share, each with one help text, one default and one check.

Each function makes a field of a dataclass of options, as `option` does; what it fills in may be given again by name.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.options import option
from sdxl.model.base import DTYPES, SDXL
from sdxl.model.sampling import STEPS

LARGEST = 16_384  # pixels across
MOST_IMAGES = 1_000_000  # the names of image files have six digits
MOST_SAMPLES = 10_000  # for one image
SOURCE = "a folder, the id of a dataset on the Hugging Face hub, or the word photographs, 24 that come with Python packages"
SPLIT = "split of the dataset, or subfolder of a folder of images, to read"
USUAL_SPLIT = "train, or the only one"
PLAN_ONLY = "print the resolved plan and exit without computing anything"

out = partial(option, group="output", metavar="DIR", path=True)
dry_run = partial(option, False, group="output")
count = partial(option, group="data", metavar="COUNT", at_least=1)
first_images = partial(count, None, "number of images to take, from the first on", usual="all")
resolution = partial(option, group="data", metavar="PIXELS", at_least=1, at_most=LARGEST)
base = partial(
    option, SDXL, "Stable Diffusion XL: a folder as diffusers saves it, or a model id on the Hugging Face hub", group="model",
    metavar="MODEL", path=True,
)  # fmt: skip
vae = partial(
    option, None, "VAE that replaces the one of --base: a folder or a model id", group="model", metavar="MODEL",
    usual="the VAE of --base", path=True,
)  # fmt: skip
lora = partial(
    option, None, "LoRA to add to the base: a run directory of `python -m sdxl train`, or a .safetensors file", group="model",
    metavar="LORA", usual="no LoRA", path=True,
)  # fmt: skip
dtype = partial(
    option, "auto", "precision of the weights of the UNet; auto takes bfloat16 on a GPU and float32 on a CPU", group="model",
    choices=("auto", *DTYPES),
)  # fmt: skip
vae_dtype = partial(
    option, "float32", "precision in which the VAE computes; the VAE of SDXL overflows in float16", group="model", choices=DTYPES
)
steps = partial(count, 25, "number of sampling steps from pure noise to a clean image", group="sampling")
kernel = partial(option, help="kernel of each sampling step", group="sampling", choices=STEPS)


def new_folder() -> Any:
    """The folder to which a command writes a model."""
    return option(
        "", "new or empty folder to write the model to", group="output", metavar="DIR", path=True, positional=True, required=True
    )


def require_empty(folder: str) -> Path:
    """The folder, which may not exist yet. Raises: UserError if it is a file or holds anything."""
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is not an empty folder; name another one")
    return path


def source(default: str | None, what: str, **more: Any) -> Any:
    """A source of images; `what` they are."""
    return option(default, f"{what}: {SOURCE}", group="data", metavar="DATA", path=True, **more)


def extractor(names: str) -> Any:
    """The network whose features are compared; `names` are those that the command knows."""
    return option("dinov2", f"feature extractor of the images: {names}", group="measurement", path=":")
