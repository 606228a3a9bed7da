"""The mini model: a small SDXL, pretrained on pictures of letters that code draws."""
