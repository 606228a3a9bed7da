"""The cost of a training, counted before it begins: parameters, FLOPs, evaluations of the UNet, memory.

The training code itself runs on a UNet that has shapes and no numbers (`sdxl.train.imagined`). FLOPs and evaluations are exact.
Memory is an estimate: the peak of the bytes in tensors is counted, but what CUDA and its allocator take in addition is a guess.
Nothing here was measured on a GPU.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from ambient.denoisers import NetworkDenoiser
from harness import records
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.model.base import Base, dtype_of
from sdxl.train.imagined import Imagined, Work, micro_batch
from sdxl.train.objective import Objective
from sdxl.train.options import TrainOptions

CONTEXT = 1.0e9  # bytes, a guess: the context of CUDA, the workspaces of cuBLAS and cuDNN
SLACK = 0.15  # share of the activations, a guess: what the allocator loses to rounding and fragments


@dataclass(frozen=True)
class Count:
    """The cost of one forward and backward pass."""

    forward: int  # FLOPs
    flops: int  # FLOPs of both passes
    with_gradient: int  # evaluations of the UNet, in samples
    without_gradient: int
    bytes: int  # the peak of the bytes in tensors, without the weights and their gradients


def count(model: Imagined, objective: Objective, work: Work) -> Count:
    """The cost of `work`, which is given the model as denoiser and returns a loss, and of the backward pass.

    FLOPs are those of matrix products, two for a product and a sum. The backward pass of attention computes the scores again,
    which is not counted.
    """
    denoiser = NetworkDenoiser(model, objective.path, "eps")
    for p in model.trained:
        p.grad = torch.zeros_like(p)  # as from the second micro-batch on
    model.with_gradient = model.without_gradient = 0
    with _Meter([t for p in model.parameters() for t in (p, p.grad) if t is not None]) as meter, _gpu_operations(model):
        loss = work(denoiser)
        forward = meter.flops
        loss.backward()
    return Count(forward, meter.flops, model.with_gradient, model.without_gradient, meter.peak)


FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # as flash attention on a GPU, it keeps no scores
FLOPS: dict[Any, Any] = flop_registry | {
    FUSED: lambda q, k, v, *_, **__: sdpa_flop_count(q.shape, k.shape, v.shape),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda _, q, k, v, *__, **___: 2 * sdpa_flop_count(q.shape, k.shape, v.shape)
    ),
}
LOW = ("linear", "conv2d")  # the operations of a UNet that autocast on CUDA runs in low precision
IN_FULL = ("group_norm", "layer_norm", "interpolate")  # those that it runs in float32


@contextmanager
def _gpu_operations(model: Imagined) -> Iterator[None]:
    """Within the block attention is fused and autocast sets the types, as on a GPU; the meta device does neither."""

    def cast(work: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
        def change(x: Any) -> Any:
            return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

        return lambda *args, **options: work(*tree_map(change, args), **tree_map(change, options))

    def attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
        return FUSED(q, k, v)[0]

    own = dict(vars(functional))
    instead = {"scaled_dot_product_attention": attention}
    if model.dtype != torch.float32:
        instead = {name: cast(work, model.dtype) for name, work in {**{n: own[n] for n in LOW}, **instead}.items()}
        instead |= {name: cast(own[name], torch.float32) for name in IN_FULL}
    try:
        functional.__dict__.update(instead)
        yield
    finally:
        functional.__dict__.update({name: own[name] for name in instead})


class _Meter(TorchDispatchMode):
    """Counts FLOPs, as torch's FlopCounterMode does, and the bytes in tensors at their peak, without those of `known` tensors.

    FlopCounterMode itself keeps tensors alive, so that it cannot run while bytes are counted.
    """

    def __init__(self, known: list[Tensor]):
        super().__init__()
        self.known = {id(t.untyped_storage()): t for t in known}
        self.living: dict[int, Any] = {}
        self.flops = self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in FLOPS:
            self.flops += FLOPS[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        name, size = id(storage), storage.nbytes()
        if name in self.known or name in self.living:
            return
        self.living[name] = weakref.ref(storage, lambda _: self._forget(name, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _forget(self, name: int, size: int) -> None:
        del self.living[name]
        self.now -= size


TOTAL = "together (an estimate, not measured)"


def memory(model: Imagined, count: Count, *, average: bool = False) -> dict[str, int]:
    """Estimated bytes on a GPU during training, by what takes them, and their TOTAL.

    Args: count: what the work with the most bytes costs; average: whether an average of the LoRA is kept.
    """
    frozen, trained = model.sizes()
    parts = {
        "frozen weights": frozen * model.dtype.itemsize,
        "LoRA, gradient, Adam": 4 * 4 * trained,  # float32: weights, gradient, two moments
        "average of the LoRA": 4 * trained * average,
        "activations at the peak": count.bytes,
        "CUDA and its allocator (a guess)": int(CONTEXT + SLACK * count.bytes),
    }
    return parts | {TOTAL: sum(parts.values())}


def plan(config: TrainOptions, base: Base, data: NoisySet) -> list[str]:
    """The lines of --dry-run on the cost of a training, counted on its most expensive micro-batch."""
    objective, fraction = Objective.of(config, base.path()), config.fraction if config.weight else 0.0
    size, levels = data.rows([0])["x_n"].shape[-1], data.levels()
    batch, pairs = config.micro_batch, math.ceil(fraction * config.micro_batch)
    dtype = dtype_of(config.dtype, torch.device("cuda"))
    model = Imagined(
        records.plain(base.settings("unet")), rank=config.rank, dtype=dtype, checkpointing=config.checkpointing,
        tokens=data.shapes()["prompt_embeds"][0], layers=config.layers,
    )  # fmt: skip
    largest = replace(objective, below=math.ceil(objective.below))
    counted = count(model, largest, micro_batch(model, largest, batch=batch, pairs=pairs, size=size, t_n=float(levels.max())))
    frozen, trained = model.sizes()
    setting = f"{str(dtype).removeprefix('torch.')}, {'checkpointing' if config.checkpointing else 'no checkpointing'}"
    return [
        f"parameters: {frozen:,} frozen, {trained:,} trained",
        f"UNet evaluations an image: {evaluations(objective, fraction):.3g}",
        f"most expensive micro-batch: {batch} images, {pairs} of them with consistency: {counted.flops / 1e12:.3g} TFLOP",
        f"GPU memory for it ({setting}):",
        *(f"  {name:36} {size / 1e9:6.2f} GB" for name, size in memory(model, counted, average=config.ema > 0).items() if size),
    ]


def evaluations(objective: Objective, fraction: float) -> float:
    """Evaluations of the UNet for an image, on average; a `fraction` of the images has a consistency pair."""
    ambient, pair = 2 if objective.antithetic_ambient else 1, 4 if objective.antithetic else 2
    return ambient + fraction * (pair + objective.below)
