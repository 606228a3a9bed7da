"""Captions to the UNet's condition."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sdxl.model.base import Base


class TextEncoder:
    """Captions to the UNet's condition, as SDXL's pipelines make it."""

    def __init__(self, base: Base, device: torch.device, dtype: torch.dtype = torch.float32):
        self.base = base
        self.tokenizers, models = base.encoders(dtype)
        self.models = [model.to(device) for model in models]
        self.remembered = lru_cache(maxsize=64)(self._encode)  # many sets have one caption

    def __call__(self, caption: str) -> dict[str, Tensor]:
        """`prompt_embeds` (1, 77, C): both penultimate layers, and `pooled` (1, P) of the second; float32 on the CPU."""
        return self.remembered(caption)

    @torch.no_grad()
    def _encode(self, caption: str) -> dict[str, Tensor]:
        layers, out = [], None
        for tokenizer, model in zip(self.tokenizers, self.models, strict=True):
            tokens = tokenizer(
                caption, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
            )
            out = model(tokens.input_ids.to(model.device), output_hidden_states=True)
            layers.append(out.hidden_states[-2])
        pooled: Any = out
        return {"prompt_embeds": torch.cat(layers, -1).float().cpu(), "pooled": pooled.text_embeds.float().cpu()}

    def null(self) -> dict[str, Tensor]:
        """The condition without a caption: zeros, or the embedding of "" where the model's index says so."""
        empty = self("")
        return {name: torch.zeros_like(value) for name, value in empty.items()} if self.base.zeros_for_no_caption() else empty

    def of_image(self, caption: str) -> dict[str, Tensor]:
        """The condition of an image: one without a caption ("") has none, as when captions are dropped in training."""
        return self(caption) if caption else self.null()

    def cut(self, captions: list[str]) -> list[str]:
        """Those that are longer than the encoders can read."""
        words, most = self.tokenizers[0], self.tokenizers[0].model_max_length
        return [caption for caption in captions if len(words(caption).input_ids) > most]
