"""The sizes of the mini model, its tokenizer, and the pictures and latents that it is trained on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import cache
from harness.files import digest
from sdxl.images.sheets import from_bytes
from sdxl.mini import glyphs
from sdxl.model import fresh
from sdxl.model.vae import decode, latent

MINI = fresh.Sizes(
    text=64,
    time_features=16,
    unet={
        "sample_size": 8,
        "block_out_channels": (64, 128),
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "layers_per_block": 1,
        "transformer_layers_per_block": 1,
        "attention_head_dim": (2, 4),
        "norm_num_groups": 16,
    },
    vae={
        "block_out_channels": (16, 32, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
        "sample_size": glyphs.SIZE,
        "scaling_factor": 1.0,
    },
)
CAPTIONS = 4096  # captions that the words of the tokenizer are taken from
VOCABULARY = 1024  # the largest number of tokens
LENGTH = 32  # tokens of a caption; SDXL's 77 would take a fifth more time
WORDS = (
    " ".join(map(chr, range(33, 127))),
    "an orange handwritten digit",
)  # more words: each ASCII character, and those of digits
ENCODED = 256  # pictures that the VAE encodes at a time


def tokenizer() -> Any:
    """CLIP's tokenizer, with a vocabulary of the bytes and of the words in captions of letters.

    Words are numbered in alphabetical order: their numbers in the trained tokenizer differ from one call to the next.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    captions = [glyphs.described(number).caption for number in range(CAPTIONS)]
    texts = [*WORDS * 2, *captions]
    trained = fresh.byte_tokenizer(LENGTH).train_new_from_iterator(texts, VOCABULARY, initial_alphabet=ByteLevel.alphabet())
    model = json.loads(trained.backend_tokenizer.to_str())["model"]
    return fresh.clip_tokenizer(sorted(model["vocab"]), model["merges"], LENGTH)


def pipeline(seed: int) -> Any:
    """A mini model with random weights."""
    return fresh.pipeline(MINI, tokenizer(), seed=seed)


def pixels(numbers: range, *, seed: int) -> Tensor:
    """The pictures with these numbers, (N, 3, SIZE, SIZE) in uint8. They are drawn once, and read from the cache afterwards."""
    key = {"first": numbers.start, "stop": numbers.stop, "seed": seed, "code": digest(glyphs.source())}
    drawn = cache.cached("glyphs", key, lambda: {"pixels": np.stack([glyphs.glyph(n, seed=seed)[0] for n in numbers])})
    return torch.from_numpy(drawn["pixels"]).permute(0, 3, 1, 2)


def encoded(vae: Any, pictures: Tensor) -> Tensor:
    """The latents of pictures, (N, 4, SIZE / 4, SIZE / 4)."""
    return torch.cat([latent(vae, from_bytes(block)) for block in pictures.split(ENCODED)])


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """The pictures of latents, (N, 3, SIZE, SIZE) in [-1, 1]."""
    return torch.cat([decode(vae, block).clamp(-1, 1) for block in latents.split(ENCODED)])
