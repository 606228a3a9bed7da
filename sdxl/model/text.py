"""Encoding captions."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from harness.wording import several
from sdxl.model.base import Base


class TextEncoder:
    """Makes the UNet's condition from captions, as SDXL's pipelines do."""

    def __init__(self, base: Base, device: torch.device, dtype: torch.dtype = torch.float32):
        self.base = base
        self.tokenizers, models = base.encoders(dtype)
        self.models = [model.to(device) for model in models]
        self.cached = lru_cache(maxsize=64)(self._encode)  # many sets have one caption for all images

    def __call__(self, caption: str) -> dict[str, Tensor]:
        """The condition of one caption, in float32 on the CPU.

        Returns: `prompt_embeds` (1, 77, C), the penultimate layers of both encoders, and `pooled` (1, P) of the second.
        """
        return self.cached(caption)

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
        """The condition of an image with this caption; for "" the one without a caption, as when training drops captions."""
        return self(caption) if caption else self.null()

    def warnings(self, captions: Iterable[str]) -> list[str]:
        """Lines about captions that are longer than the encoders read, and about words with signs that they do not know."""
        tokenizer, different = self.tokenizers[0], sorted(set(captions))
        cut = [caption for caption in different if len(tokenizer(caption).input_ids) > tokenizer.model_max_length]
        words = sorted({word for caption in different for word in caption.split()})
        strange = [word for word in words if tokenizer.unk_token_id in tokenizer(word).input_ids[1:-1]]
        longer = f"warning: {len(cut)} captions are longer than the text encoders read, and are cut"
        unknown = f"warning: the text encoders do not know signs of {several(len(strange), 'word')}"
        lines = [f"{longer} (first: {cut[0][:60]}...)"] if cut else []
        return [*lines, f"{unknown} (first: {strange[0][:60]})"] if strange else lines
