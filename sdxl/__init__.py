"""SDXL, fine-tuned with LoRA on noisy latents alone, by the losses of `ambient`."""
