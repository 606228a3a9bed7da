"""What fills hidden regions: the model itself, or diffusers' inpainting pipeline. Neither is given what was there."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ambient.randomness import generator
from harness.errors import UserError
from sdxl.attack.fill import fill
from sdxl.attack.mask import MaskAttackPlan
from sdxl.attack.plan import STRIPS, Attacker
from sdxl.attack.regions import Region
from sdxl.images.sheets import grid, image_of, save
from sdxl.model import sampling, vae
from sdxl.model.unet import denoiser, guided
from sdxl.model.vae import picture
from sdxl.model.weights import load

MARGIN = 1  # latents around the region that are filled too: they depend on the gray pixels in it


class Filler(Attacker):
    """Hides the region of an image, fills it, and writes what was there and each filled region."""

    def __call__(self, image: int) -> None:
        plan, region = self.plan, self.plan.regions[image]
        square, condition = self.read(image)
        left, top, right, bottom = region
        masked = square.clone()
        masked[:, top:bottom, left:right] = 0  # before the VAE, whose latents depend on the pixels around them
        x_0, original = vae.latent(self.vae, masked[None]).to(self.device), image_of(square)
        shown = [original, image_of(masked)]
        save(self.cut_out(original, region), plan.original_file(image))
        for j in range(plan.config.samples):
            file = plan.file(j, image)
            latent = self.filled_latent(x_0, region, condition, f"{j}/{plan.pictures[image].key}")
            filled = picture(self.vae, latent[0], file.name)
            save(self.cut_out(filled, region), file)
            shown.append(original.copy())
            shown[-1].paste(filled.crop(region), region)
        if image < STRIPS:
            heads = ["image", "what was shown", *(f"fill {j}" for j in range(plan.config.samples))]
            save(grid([shown], above=heads), plan.strip_file(image))

    def cut_out(self, whole: Any, region: Region) -> Any:
        """The region of a picture, resized to a square."""
        return whole.crop(region).resize((self.plan.side, self.plan.side), Image.Resampling.LANCZOS)

    @abstractmethod
    def filled_latent(self, x_0: Tensor, region: Region, condition: dict[str, Tensor], stream: str) -> Tensor:
        """The latent (1, 4, h, w) of the whole filled image, given that of the masked image.

        Random numbers follow from the seed and `stream`.
        """


class PosteriorFiller(Filler):
    """The model itself, by `attack.fill`."""

    def __init__(self, plan: MaskAttackPlan):
        super().__init__(plan)
        null = {name: value.to(self.device) for name, value in self.text.null().items()}
        self.denoiser = guided(denoiser(self.unet, plan.path, plan.base.prediction()), null, plan.guidance())

    def filled_latent(self, x_0: Tensor, region: Region, condition: dict[str, Tensor], stream: str) -> Tensor:
        plan, config, cell = self.plan, self.plan.config, self.plan.vae.pixels()
        left, top, right, bottom = (pixels // cell for pixels in region)
        hidden = torch.zeros(x_0.shape[-2:], dtype=torch.bool, device=self.device)
        hidden[max(0, top - MARGIN) : bottom + MARGIN, max(0, left - MARGIN) : right + MARGIN] = True
        noise = sampling.noise_from([f"fill {stream}"], x_0.shape[1:], seed=config.seed)
        options: dict[str, Any] = {"kernel": config.kernel, "resample": config.resample, "condition": condition}
        return fill(self.denoiser, x_0, hidden, path=plan.path, times=plan.times, noise=noise, **options)


class PipelineFiller(Filler):
    """diffusers' inpainting pipeline, with a UNet made for inpainting (9 channels) or any other (4 channels)."""

    def __init__(self, plan: MaskAttackPlan):
        super().__init__(plan)
        import diffusers
        from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import StableDiffusionXLInpaintPipeline

        name = plan.base.schedule().get("_class_name", "EulerDiscreteScheduler")
        scheduler_class = getattr(diffusers, name, None)
        if scheduler_class is None:
            raise UserError(f"this diffusers has no scheduler {name}, which {plan.base.folder} names")
        nothing: Any = None  # no text encoders and tokenizers: all attacks encode captions in the same way
        scheduler = load(scheduler_class, plan.base.part("scheduler"))
        parts = (self.vae, nothing, nothing, nothing, nothing, self.unet, scheduler)
        self.pipeline = StableDiffusionXLInpaintPipeline(*parts, add_watermarker=False)
        self.pipeline.set_progress_bar_config(disable=True)
        self.null = self.text.null()

    def filled_latent(self, x_0: Tensor, region: Region, condition: dict[str, Tensor], stream: str) -> Tensor:
        """As `Filler.filled_latent`; the pipeline takes x_0, of the masked image, for the image as well."""
        side, (left, top, right, bottom) = self.plan.resolution, region
        mask = torch.zeros(1, 1, side, side)
        mask[..., top:bottom, left:right] = 1
        height, width, *corner = (int(value) for value in condition["time_ids"][0, :4])
        sizes = {"original_size": (height, width), "crops_coords_top_left": tuple(corner), "target_size": (side, side)}
        captions = {"prompt_embeds": condition["prompt_embeds"], "pooled_prompt_embeds": condition["pooled"]}
        captions |= {"negative_prompt_embeds": self.null["prompt_embeds"], "negative_pooled_prompt_embeds": self.null["pooled"]}
        output: Any = self.pipeline(
            image=x_0,
            masked_image_latents=x_0,
            mask_image=mask,
            height=side,
            width=side,
            num_inference_steps=self.plan.config.steps,
            guidance_scale=self.plan.guidance(),
            generator=generator(self.plan.config.seed, f"inpainting {stream}"),
            output_type="latent",
            **{name: value.to(self.device, self.plan.dtype) for name, value in captions.items()},
            **sizes,
            **{f"negative_{name}": value for name, value in sizes.items()},
        )
        return output.images.float()


FILLERS = {"posterior": PosteriorFiller, "inpainting": PipelineFiller}  # by --fill
