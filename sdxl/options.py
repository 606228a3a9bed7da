"""Options that several commands share, each with one help text, one default and one check."""

from __future__ import annotations

from typing import Any

from harness.options import option
from sdxl.model.base import DTYPES, SDXL
from sdxl.model.sampling import STEPS

LARGEST = 16_384  # pixels across
MOST_IMAGES = 1_000_000  # the names of image files have six digits
MOST_SAMPLES = 10_000  # for one image
SOURCE = "a folder, the id of a dataset on the Hugging Face hub, or the word photographs, 24 that come with Python packages"
SPLIT = "split of the dataset, or subfolder of a folder of images, to read"
USUAL_SPLIT = "train, or the only one"


def out(default: str, what: str) -> Any:
    """--out, the folder to write to."""
    return option(default, what, group="output", metavar="DIR", path=True)


def dry_run(what: str = "print the resolved plan and exit without computing anything") -> Any:
    """--dry-run."""
    return option(False, what, group="output")


def base() -> Any:
    """--base, the model."""
    return option(SDXL, "Stable Diffusion XL: a folder as diffusers saves it, or a model id on the Hugging Face hub",
                  group="model", metavar="MODEL", path=True)  # fmt: skip


def vae() -> Any:
    """--vae, a VAE that replaces that of the base."""
    return option(None, "VAE that replaces the one of --base: a folder or a model id", group="model", metavar="MODEL",
                  usual="the VAE of --base", path=True)  # fmt: skip


def lora() -> Any:
    """--lora, a trained LoRA."""
    return option(None, "LoRA to add to the base: a run directory of `python -m sdxl train`, or a .safetensors file",
                  group="model", metavar="LORA", usual="no LoRA", path=True)  # fmt: skip


def dtype() -> Any:
    """--dtype, the precision of the UNet."""
    return option("auto", "precision of the weights of the UNet; auto takes bfloat16 on a GPU and float32 on a CPU",
                  group="model", choices=("auto", *DTYPES))  # fmt: skip


def vae_dtype() -> Any:
    """--vae-dtype, the precision of the VAE."""
    return option("float32", "precision in which the VAE computes; the VAE of SDXL overflows in float16", group="model",
                  choices=DTYPES)  # fmt: skip


def source(default: str | None, what: str, **more: Any) -> Any:
    """A source of images."""
    return option(default, f"{what}: {SOURCE}", group="data", metavar="DATA", path=True, **more)


def count(default: int | None, what: str, *, at_least: int = 1, group: str = "data", **more: Any) -> Any:
    """A count."""
    return option(default, what, group=group, metavar="COUNT", at_least=at_least, **more)


def first_images(at_least: int = 1) -> Any:
    """--images, the number of images to take."""
    return count(None, "number of images to take, from the first on", at_least=at_least, usual="all")


def resolution(default: int | None, what: str, **more: Any) -> Any:
    """--resolution, the size of square images."""
    return option(default, what, group="data", metavar="PIXELS", at_least=1, at_most=LARGEST, **more)


def steps() -> Any:
    """--steps, the number of sampling steps."""
    return count(25, "number of sampling steps from pure noise to a clean image", group="sampling")


def kernel(default: str) -> Any:
    """--kernel, the kernel of a sampling step."""
    return option(default, "kernel of each sampling step", group="sampling", choices=STEPS)


def extractor(words: str) -> Any:
    """--extractor, the network whose features are compared."""
    return option("dinov2", f"feature extractor of the images: {words}", group="measurement", path=":")
