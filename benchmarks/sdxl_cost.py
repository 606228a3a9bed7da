"""The cost of fine-tuning the real SDXL: counted without a device, and measured if there is a GPU.

    python benchmarks/sdxl_cost.py              about two minutes of CPU; no weights, no network
    python benchmarks/sdxl_cost.py --base DIR   another UNet than the real one: that of an SDXL on disk

The counts come from `sdxl.train.objective` itself: the parameters; the evaluations of the UNet and the FLOPs of a training step,
compared with plain denoising and with the two forms of the official code; an estimate of the memory; the speed on 1, 8 and 64
GPUs, computed from the FLOPs and an assumed utilisation. The program prints tables and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ambient import losses
from ambient.denoisers import Denoiser, NetworkDenoiser
from ambient.kernels import ancestral
from ambient.paths import Discrete
from harness import records
from harness.runs import environment
from sdxl.model import fresh
from sdxl.model.base import find
from sdxl.train import cost
from sdxl.train.imagined import Imagined, Work, micro_batch
from sdxl.train.objective import Objective
from sdxl.train.options import TrainOptions

IMAGES, CONSISTENT = 200_000 * 16, 50_000 * 16  # App. B: in a training; in its last part, with consistency
QUARTER = 4  # images of which one has a consistency pair
Row = dict[str, Any]
REAL: Row = {  # unet/config.json of stable-diffusion-xl-base-1.0, where it differs from diffusers' defaults
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),  # the number of heads, by a slip of names in diffusers
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def main() -> None:
    """Count, measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="an SDXL on disk (default: the real one's UNet, known by heart)")
    parser.add_argument("--size", type=int, help="of the latents (default: the UNet's own, 128 for 1024 pixels)")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the card, 16 bits, dense (default: an H100's)")
    parser.add_argument("--utilisation", type=float, default=0.4, help="of that peak, assumed (default: 0.4)")
    parser.add_argument("--out", type=Path, default=Path("runs/sdxl_cost.json"))
    options = parser.parse_args()
    settings = records.plain(find(options.base, parts=("unet",)).settings("unet")) if options.base else REAL
    size, flops_per_second = options.size or settings["sample_size"], options.peak * 1e12
    frozen, trained = Imagined(settings).sizes()
    print(f"{frozen:,} parameters, {trained:,} of a LoRA of rank 4; latents of {size} x {size}\n")
    results: dict[str, Any] = {"frozen": frozen, "trained": trained, "size": size}
    results["steps"] = show(steps(settings, size))
    results["micro_batches"] = show([micro(settings, size, c, p, flops_per_second) for c in (False, True) for p in (0, 1)])
    if not torch.cuda.is_available():
        print("no GPU here: speed and memory were not measured\n")
    print(f"computed, not measured: {options.utilisation:.0%} of {options.peak:g} TFLOP/s on every GPU, no checkpointing;")
    print(
        "days: 200,000 steps of 16 images, consistency in the last 50,000; 64 GPUs need a batch of 64, in a quarter of the steps"
    )
    results["speed"] = show(speed(results["steps"], flops_per_second * options.utilisation))
    results |= {"peak": options.peak, "utilisation": options.utilisation, "environment": environment()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"-> {options.out}")


def show(rows: list[Row]) -> list[Row]:
    """Print a table."""
    print(f"| {' | '.join(rows[0])} |\n|---{'|---:' * (len(rows[0]) - 1)}|")
    for row in rows:
        print(f"| {' | '.join(f'{v:.3g}' if isinstance(v, float) else str(v) for v in row.values())} |")
    print(flush=True)
    return rows


def objective(**options: Any) -> Objective:
    """With SDXL's schedule."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler: Any = DDPMScheduler.from_config(fresh.SCHEDULE)
    return Objective(Discrete(scheduler.alphas_cumprod), **options)


def steps(settings: dict[str, Any], size: int) -> list[Row]:
    """The cost of a training step per image, compared with plain denoising."""
    model, below = Imagined(settings), TrainOptions().below
    pair, antithetic = objective(below=0.0), objective(below=0.0, antithetic=True)

    def ours(found: Objective, batch: int, pairs: int) -> tuple[float, float]:
        counted = cost.count(model, found, micro_batch(model, found, batch=batch, pairs=pairs, size=size))
        assert counted.without_gradient == 0
        return counted.with_gradient / batch, counted.flops / batch

    def by_default(found: Objective) -> tuple[float, float]:
        (e_0, f_0), (e_1, f_1) = (ours(replace(found, below=b), QUARTER, 1) for b in (0.0, 1.0))
        return (1 - below) * e_0 + below * e_1, (1 - below) * f_0 + below * f_1

    share = f"{below:.0%} of them from below t_n: the default"
    _, plain = ours(pair, 1, 0)
    table = {
        ("plain: the ambient loss alone", ""): (1.0, plain),
        ("the paper's pair, every image", "3.0"): ours(pair, 1, 1),
        ("the paper's pair, every fourth image", "<= 1.6"): ours(pair, QUARTER, 1),
        (f"the paper's pair, every fourth image, {share}", ""): by_default(pair),
        ("antithetic, every fourth image", "<= 2.0"): ours(antithetic, QUARTER, 1),
        (f"antithetic, every fourth image, {share}", ""): by_default(antithetic),
        ("official form, no gradient in the step (one evaluation without)", ""): official(model, pair, size, gradient=False),
        ("official form, gradient in the step", ""): official(model, pair, size, gradient=True),
    }
    return [
        {"training step": name, "evaluations": float(e), "TFLOP": f / 1e12, "against plain": f / plain, "bar": bar}
        for (name, bar), (e, f) in table.items()
    ]


def official(model: Imagined, found: Objective, size: int, *, gradient: bool) -> tuple[float, float]:
    """The consistency step of the official code, which evaluates h(x_t, t) again after the ambient loss."""
    x_t, pair, condition = torch.zeros(1, 4, size, size), torch.zeros(2, 1, 4, size, size), model.condition(1)

    def work(denoiser: Denoiser) -> Tensor:
        h = denoiser(x_t, 600, condition)
        with torch.set_grad_enabled(gradient):
            step = ancestral(denoiser, x_t, path=found.path, t=600, s=580, condition=condition)
        consistency = losses.martingale(denoiser, step._replace(x_0_hat=h), pair, s=580, condition=condition)
        return losses.squared_norm(h).sum() + consistency.sum()

    counted = cost.count(model, found, work)
    return counted.with_gradient + counted.without_gradient, counted.flops


def micro(settings: dict[str, Any], size: int, checkpointing: bool, pairs: int, peak: float) -> Row:
    """FLOPs and memory of a micro-batch of one image in bfloat16, and their measured values on a GPU."""
    found = objective(below=1.0)
    model = Imagined(settings, checkpointing=checkpointing)
    counted = cost.count(model, found, micro_batch(model, found, batch=1, pairs=pairs, size=size))
    row = {
        "a micro-batch of one image, bfloat16": ("with a pair from below t_n" if pairs else "plain")
        + (", checkpointing" if checkpointing else ""),
        "TFLOP": counted.flops / 1e12,
        "activations, GB": counted.bytes / 1e9,
        "GPU memory, GB (estimated)": cost.memory(model, counted)[cost.TOTAL] / 1e9,
    }
    if not torch.cuda.is_available():
        return row
    model = Imagined(settings, checkpointing=checkpointing, device="cuda")
    seconds = measure(model, found, micro_batch(model, found, batch=1, pairs=pairs, size=size))
    return row | {
        "GB (measured)": torch.cuda.max_memory_reserved() / 1e9,
        "images/s": 1 / seconds,
        "share of the peak": counted.flops / seconds / peak,
    }


def measure(model: Imagined, found: Objective, work: Work, repeats: int = 5) -> float:
    """Seconds of a training step, with random weights; the first two are not timed."""
    denoiser, cuda = NetworkDenoiser(model, found.path, "eps"), model.device.type == "cuda"
    optimiser = torch.optim.AdamW(model.trained, lr=1e-5)
    begun = 0.0
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for i in range(2 + repeats):
        if i == 2:
            begun = time.monotonic()
        with torch.autocast(model.device.type, model.dtype):
            loss = work(denoiser)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if cuda:
            torch.cuda.synchronize()
    return (time.monotonic() - begun) / repeats


def speed(rows: list[Row], flops_per_second: float) -> list[Row]:
    """Images a second and days for the paper's trainings, from the FLOPs."""
    plain, every, quarter = (rows[i]["TFLOP"] * 1e12 for i in (0, 1, 3))
    table = []
    for gpus in (1, 8, 64):
        rate = gpus * flops_per_second
        row: Row = {"GPUs": gpus, "images/s, plain": rate / plain, "a pair every image": rate / every}
        row["every fourth, by default"] = rate / quarter
        for name, flops in {"plain": plain, "every image": every, "every fourth": quarter}.items():
            row[f"days, {name}"] = ((IMAGES - CONSISTENT) * plain + CONSISTENT * flops) / rate / 86_400
        table.append(row)
    return table


if __name__ == "__main__":
    main()
