"""The speed of the search for nearest neighbours as a share of the machine's peak speed of matrix products.

    python benchmarks/neighbours.py                    a block of queries against 60,000 images of 1,536 features
    python benchmarks/neighbours.py --queries 60000    all against all; minutes to hours of CPU, seconds on a GPU

The peak is the speed of a product of square float32 matrices of the best size. Search and peak are measured in turn, and the
median of their ratios is reported, so that other load on the machine slows both. Also measures the maximum memory of the search
beyond the features. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from ambient.randomness import generator
from harness.neighbours import QUERIES, nearest
from harness.runs import environment

BAR = 0.5
SIZES = (1024, 2048, 3072)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--features", type=int, default=1536)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/neighbours.json"))
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = generator(0, "features")
    known = torch.randn(options.images, options.features, generator=source).to(device)
    queries = torch.randn(options.queries, options.features, generator=source).to(device)
    group = SimpleNamespace(rank=0, size=1, device=device, gather=lambda mine: [mine])
    before = peak_memory(device)
    flops = 2 * options.queries * options.images * options.features
    found = []
    for i in range(options.rounds):
        best = max(square(size, device) for size in SIZES)
        reached = flops / seconds(lambda: nearest(queries, known, k=options.k, group=group), device) / 1e9  # type: ignore
        best = max(best, *(square(size, device) for size in SIZES))
        found.append({"search": reached, "peak": best, "share": reached / best})
        print(f"round {i + 1}: {reached:9.1f} of {best:9.1f} GFLOP/s, {reached / best:.0%}", flush=True)
    share = statistics.median(row["share"] for row in found)
    results = {
        "images": options.images,
        "features": options.features,
        "queries": options.queries,
        "k": options.k,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "rounds": found,
        "share": share,
        "memory beyond the features, MB": (peak_memory(device) - before) / 1e6,
        "environment": environment(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1))
    print(f"median {share:.0%} of the peak (bar {BAR:.0%}); {results['memory beyond the features, MB']:.0f} MB more memory")
    sys.exit(share < BAR)


def square(size: int, device: torch.device) -> float:
    """The speed of a product of square matrices, in GFLOP/s."""
    x = torch.randn(size, size, device=device)
    return 2 * size**3 / min(seconds(lambda: x @ x, device) for _ in range(3)) / 1e9


def seconds(work, device: torch.device) -> float:
    """The seconds that `work` takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def peak_memory(device: torch.device) -> float:
    """The maximum memory of this process so far, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
