"""Stage 2, train: LoRA fine-tuning on noisy latents alone."""
