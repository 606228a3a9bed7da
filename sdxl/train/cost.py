"""What training costs, counted before training begins: parameters, FLOPs, evaluations of the UNet, memory.

The training code itself runs on a UNet that is only `imagined`. FLOPs and evaluations are exact. Memory is an estimate: the most
bytes that tensors hold at once is counted too, but what CUDA and its allocator take beyond is a guess, and named as one. Nothing
here was measured on a GPU.
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

CONTEXT = 1.0e9  # bytes, a guess: CUDA's context, cuBLAS's and cuDNN's workspaces
SLACK = 0.15  # of the activations, a guess: what the allocator loses to rounding and fragments


@dataclass(frozen=True)
class Count:
    """What one forward and backward pass of some work costs."""

    forward: int  # FLOPs
    flops: int  # with the backward pass
    with_gradient: int  # evaluations of the UNet, in samples
    without_gradient: int
    bytes: int  # the most that tensors hold at once, beside the weights and their gradients


def count(model: Imagined, objective: Objective, work: Work) -> Count:
    """Run `work` with the model as its denoiser, backward pass included, and count.

    FLOPs are those of matrix products, two for a product and a sum, attention's scores not counted again in its backward pass.
    """
    denoiser = NetworkDenoiser(model, objective.path, "eps")
    for p in model.trained:
        p.grad = torch.zeros_like(p)  # there from the second micro-batch on
    model.with_gradient = model.without_gradient = 0
    with _Meter([t for p in model.parameters() for t in (p, p.grad) if t is not None]) as meter, _as_on_a_gpu(model):
        loss = work(denoiser)
        forward = meter.flops
        loss.backward()
    return Count(forward, meter.flops, model.with_gradient, model.without_gradient, meter.most)


FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # "flash" as everywhere: no scores are kept
FLOPS: dict[Any, Any] = flop_registry | {
    FUSED: lambda q, k, v, *_, **__: sdpa_flop_count(q.shape, k.shape, v.shape),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda _, q, k, v, *__, **___: 2 * sdpa_flop_count(q.shape, k.shape, v.shape)
    ),
}
LOW, IN_FULL = (
    ("linear", "conv2d"),
    ("group_norm", "layer_norm", "interpolate"),
)  # of the UNet: CUDA's autocast has the others in float32


@contextmanager
def _as_on_a_gpu(model: Imagined) -> Iterator[None]:
    """Attention is fused, and types are what autocast makes of them, neither of which the meta device knows."""

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
    """Adds up FLOPs, as torch's FlopCounterMode does, and the bytes that live at once, but for those of `known` tensors.

    (FlopCounterMode itself holds on to tensors, so that the two cannot be counted side by side.)
    """

    def __init__(self, known: list[Tensor]):
        super().__init__()
        self.known = {id(t.untyped_storage()): t for t in known}
        self.living: dict[int, Any] = {}
        self.flops = self.now = self.most = 0

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
        self.most = max(self.most, self.now)

    def _forget(self, name: int, size: int) -> None:
        del self.living[name]
        self.now -= size


@dataclass(frozen=True)
class Memory:
    """Bytes on a GPU while training: an estimate, not measured."""

    weights: int  # frozen
    trained: int  # the LoRA, its gradient and Adam's two moments, in float32
    average: int  # of the LoRA, if one is kept
    activations: int  # and all else that a step holds, at its peak

    @property
    def allowance(self) -> int:
        """For CUDA and its allocator: CONTEXT, and SLACK of the activations. A guess."""
        return int(CONTEXT + SLACK * self.activations)

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.average + self.activations + self.allowance

    def lines(self) -> list[str]:
        """For printing, in GB of 10^9 bytes."""
        parts = {
            "frozen weights": self.weights,
            "LoRA, gradient, Adam": self.trained,
            "average of the LoRA": self.average,
            "activations at the peak": self.activations,
            "CUDA and its allocator (a guess)": self.allowance,
            "together (an estimate, not measured)": self.total,
        }
        return [f"{name:36} {size / 1e9:6.2f} GB" for name, size in parts.items() if size]


def memory(model: Imagined, found: Count, *, average: bool = False) -> Memory:
    """Of training `model` by the work that was counted."""
    frozen, trained = model.sizes()
    return Memory(frozen * model.dtype.itemsize, 4 * 4 * trained, 4 * trained * average, found.bytes)


def plan(config: TrainOptions, base: Base, data: NoisySet) -> list[str]:
    """What a training costs, for --dry-run: counted on its dearest micro-batch."""
    objective, fraction = Objective.of(config, base.path()), config.fraction if config.weight else 0.0
    size, levels = data.rows([0])["x_n"].shape[-1], data.levels()
    batch, pairs = config.micro_batch, math.ceil(fraction * config.micro_batch)
    dtype = dtype_of(config.dtype, torch.device("cuda"))
    model = Imagined(records.plain(base.settings("unet")), rank=config.rank, dtype=dtype, checkpointing=config.checkpointing)
    dearest = replace(objective, below=math.ceil(objective.below))
    found = count(model, dearest, micro_batch(model, dearest, batch=batch, pairs=pairs, size=size, t_n=float(levels.max())))
    frozen, trained = model.sizes()
    how = f"{str(dtype).removeprefix('torch.')}, {'checkpointing' if config.checkpointing else 'no checkpointing'}"
    return [
        f"parameters: {frozen:,} frozen, {trained:,} trained",
        f"UNet evaluations an image: {evaluations(objective, fraction):.3g}",
        f"dearest micro-batch: {batch} images, {pairs} of them with consistency: {found.flops / 1e12:.3g} TFLOP",
        f"GPU memory for it ({how}):",
        *(f"  {line}" for line in memory(model, found, average=config.ema > 0).lines()),
    ]


def evaluations(objective: Objective, fraction: float) -> float:
    """Evaluations of the UNet for an image, on average, where a `fraction` of the images has a consistency pair."""
    return 1 + fraction * ((4 if objective.antithetic else 2) + objective.below)
