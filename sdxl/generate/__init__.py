"""Stage 3, generate: images from a base and a LoRA."""
