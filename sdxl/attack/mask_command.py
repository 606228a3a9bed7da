"""The masking attack: a region of each image is hidden, a model fills it, and the filled region alone is compared.

    python -m sdxl attack mask --data photos --lora run --out masked                        faces, by the model itself
    python -m sdxl attack mask --data photos --detector detr:hustvl/yolos-small --out masked           whole objects
    python -m sdxl attack mask --data photos --detector boxes:boxes.csv --captions --out masked        your own regions
    python -m sdxl attack mask --data photos --captions --fill inpainting --base INPAINTING --out masked    the paper's Fig. 1
    python -m sdxl evaluate memorization --images masked --training masked/originals        region against region

Detectors: faces; boxes:FILE (CSV or JSON lines with key, x0, y0, x1, y1; or JSON, {key: [[x0, y0, x1, y1], ...]}; in pixels of
the image); detr:SOURCE, an object detector of transformers; center:SHARE. The largest region of each image is taken; images
without one are left out, and counted. The model sees gray in its place, and nothing that was there.
INPAINTING: diffusers/stable-diffusion-xl-1.0-inpainting-0.1, or a folder; a UNet that was not made for inpainting does as well.
Writes images/fill_0_000000.png, the filled region as a square of its own; originals/, what was there; strips/ of the first
images: the image, what the model saw, the filled image; sheet.png, manifest.json, DONE. Noise follows from the seed and the
image's key. The same command resumes where it was stopped. For a control, attack images that the model has not seen.
Paper: Sec. 4.1, Figs. 1, 9, with captions: without them its authors found nothing.
"""

from __future__ import annotations

from sdxl.attack.options import MaskAttackOptions
from sdxl.run_command import started

OPTIONS = MaskAttackOptions


def main(argv: list[str]) -> None:
    """Run the attack that `argv` describes."""
    with started(OPTIONS, argv, "attack mask", __doc__) as (config, group):
        from sdxl.attack.fillers import FILLERS  # the models take seconds to import
        from sdxl.attack.mask import MaskAttackPlan
        from sdxl.attack.plan import run_attack

        run_attack(group.together(lambda: MaskAttackPlan(config, group)), FILLERS[config.fill])
