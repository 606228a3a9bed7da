"""Options of `python -m sdxl corrupt`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options
from sdxl.images.crop import CROPS
from sdxl.model.base import DTYPES

T_N = 500
FEWEST = 100  # images; the paper reports that its method did not work on fewer


@dataclass(frozen=True)
class CorruptOptions(Options):
    """Options of `python -m sdxl corrupt`."""

    out: str = options.out("runs/noisy", "folder for the noisy set")
    data: str = option(
        "", "images: a folder of images with metadata.jsonl, .csv or .parquet (transparent parts become white), of parquet or "
        "webdataset files, or saved by `datasets`; the id of a dataset on the Hugging Face hub; or the word photographs, 24 that "
        "come with Python packages", group="data", metavar="DATA", path=True, required=True,
    )  # fmt: skip
    split: str | None = option(None, options.SPLIT, group="data", metavar="NAME", usual=options.USUAL_SPLIT)
    image_column: str | None = option(
        None, "column of the dataset that holds the images", group="data", metavar="NAME", usual="the first with images"
    )
    caption_column: str = option("text", "column that holds the captions; '' for none", group="data", metavar="NAME")
    key_column: str | None = option(
        None, "column that holds a unique name of each image, from which its noise follows", group="data", metavar="NAME",
        usual="the name of the file, or the number of the row",
    )  # fmt: skip
    level_column: str | None = option(
        None, "column that holds the level t_n of each image, 0 for a clean one", group="noise", metavar="NAME",
        usual="--t-n for all",
    )  # fmt: skip
    t_n: int | None = option(
        None, "level of the noise in the data: the time of the schedule, 1 to 999, up to which noise is added; 0 adds none",
        group="noise", metavar="STEP", at_least=0, usual=str(T_N),
    )  # fmt: skip
    caption: str | None = option(
        None, "caption for images without one", group="data", metavar="TEXT", usual="such images are refused"
    )
    base: str = options.base()
    vae: str | None = options.vae()
    resolution: int = options.resolution(1024, "size in pixels to which the shorter side is resized; the rest is cropped")
    crop: str = option("center", "part that is kept; random draws it once for each image", group="data", choices=CROPS)
    upscale: bool = option(False, "enlarge images that are smaller than --resolution instead of refusing them", group="data")
    skip_unreadable: bool = option(False, "leave out images that are missing or damaged instead of refusing them", group="data")
    keep_duplicates: bool = option(
        False, "go on although one image is there under several names, each with noise of its own", group="data"
    )
    images: int | None = options.first_images()
    seed: int = option(
        0, "seed of noise and random crops: take a secret number of 128 bits before you give the noisy set away", group="noise",
        large=True,
    )  # fmt: skip
    dtype: str = option("float32", "precision of the latents that are stored", group="output", choices=DTYPES)
    vae_dtype: str = options.vae_dtype()
    shard: int = options.count(512, "number of images in each file of the noisy set", group="output")
    batch: int = options.count(8, "images that each process reads ahead; the files do not depend on it", group="output")
    dry_run: bool = options.dry_run("read the images, print the resolved plan, and exit without writing anything")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level_column and self.t_n is not None:
            raise ValueError("--t-n is one level for all, --level-column one for each image; give one of them")

    def level(self) -> int:
        """The level of all images, unless a column has the level of each."""
        return T_N if self.t_n is None else self.t_n
