"""Stage 1, corrupt: images and captions to noisy latents on disk, once."""
