"""Generate images with SDXL and a LoRA: samples, the paper's early stop, or posterior samples given noisy latents.

    python -m sdxl generate --lora run --prompt "a cat" --images 16 --out images
    python -m sdxl generate --lora run --prompts captions.txt --images 10000 --out images
    python -m sdxl generate --lora run --prompt "a cat" --stop 500 --out stopped     down to t_n = 500, then denoised once
    python -m sdxl generate --lora run --posterior noisy --images 16 --out restored  clean images for the noisy ones of a set
    torchrun --nproc-per-node 8 -m sdxl generate ...                                 the same images, sooner

Writes images/000000.png and so on, sheet.png, manifest.json and DONE. An image follows from the seed and its number. The same
command continues where it was stopped.
"""

from __future__ import annotations

from sdxl.generate.options import GenerateOptions
from sdxl.generate.plan import GenerationPlan
from sdxl.run_command import started

OPTIONS = GenerateOptions


def main(argv: list[str]) -> None:
    """Generate the images that `argv` describes."""
    with started(OPTIONS, argv, "generate", __doc__) as (config, group):
        job = group.together(lambda: GenerationPlan(config, group))
        if config.dry_run:
            return group.say(*job.plan())
        from sdxl.generate.generator import generate_images  # the models take seconds to import

        with group.results(config.out, job.identity()) as stopping:
            generate_images(job, group, stopping)
