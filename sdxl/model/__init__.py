"""The model: base, UNet, VAE, text encoders, LoRA, and sampling from them."""
