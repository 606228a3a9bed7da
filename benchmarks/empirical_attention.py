"""The perfect memoriser, E[X_0 | X_t] of a data set: `Empirical.denoise` against a simple implementation by broadcasting.

    python benchmarks/empirical_attention.py                      60,000 x 784 synthetic keys, 256 queries, about 5 minutes
    python benchmarks/empirical_attention.py --mnist mnist.npz    real images: the array `x_train` of this file

Measures the CPU time on one thread (both methods in turn, the median of several), and the memory that a new process needs beyond
the data, including construction. Prints a table and writes JSON. The goal: 20 times faster, less than 150 MiB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ambient.paths import VarianceExploding
from ambient.randomness import generator
from ambient.worlds import Empirical
from harness.runs import environment

LEVELS = (1.0, 0.5, 0.05)  # float32 is enough for the first two; the last is answered in float64, and weighed
AT = 0.5  # where broadcasting is timed; it does not care
TOGETHER = 2  # queries that broadcasting takes at once: 2 x 60,000 x 784 floats


def data(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Keys in [-1, 1], and queries: noisy keys at level AT."""
    if options.mnist:
        with np.load(options.mnist) as arrays:
            points = torch.from_numpy(arrays["x_train"]).flatten(1).float().div_(127.5).sub_(1)[: options.keys]
    else:
        points = torch.rand(options.keys, 784, generator=generator(0, "keys")).mul_(2).sub_(1)
    noise = torch.randn(options.queries, points.shape[1], generator=generator(0, "noise"))
    return points, points[: options.queries] + AT * noise


def broadcasting(points: Tensor, x_t: Tensor, sigma: float) -> Tensor:
    answers = []
    for query in x_t.split(TOGETHER):
        distances = ((query[:, None] - points) ** 2).sum(-1)
        answers.append(torch.softmax(-distances / (2 * sigma**2), 1) @ points)
    return torch.cat(answers)


def cpu_seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


def memory(entry: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS is the resident memory, VmHWM its maximum so far."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[entry].split()[0]) / 1024


def measure_memory(options: argparse.Namespace, method: str) -> None:
    """Print the MiB that a method needs beyond the data; run in a process of its own."""
    points, x_t = data(options)
    Empirical(points[:100]).denoise(x_t[:2], VarianceExploding()(AT))  # what torch loads at its first use
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading the data
    before = max(memory("VmRSS"), memory("VmHWM"))
    if method == "ours":
        Empirical(points).denoise(x_t, VarianceExploding()(min(LEVELS)))
    else:
        broadcasting(points, x_t[: 2 * TOGETHER], AT)
    print(memory("VmHWM") - before)


def main() -> None:
    """Measure times and memory, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="an .npz with the array x_train (default: synthetic keys)")
    parser.add_argument("--keys", type=int, default=60_000, help="data points at most (default: 60,000)")
    parser.add_argument("--queries", type=int, default=256, help="(default: 256)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: 3)")
    parser.add_argument("--out", type=Path, default=Path("runs/empirical_attention.json"))
    parser.add_argument("--weigh", choices=["ours", "broadcasting"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.weigh:
        return measure_memory(options, options.weigh)

    again = [sys.executable, __file__, *sys.argv[1:], "--weigh"]
    extra = {
        method: float(subprocess.run([*again, method], capture_output=True, text=True, check=True).stdout)
        for method in ("ours", "broadcasting")
    }
    points, x_t = data(options)
    world = Empirical(points)
    seconds: dict[str, list[float]] = {f"ours, sigma {sigma:g}": [] for sigma in LEVELS} | {"broadcasting": []}
    for _ in range(options.repeats):
        for sigma in LEVELS:
            spent, answer = cpu_seconds(lambda sigma=sigma: world.denoise(x_t, VarianceExploding()(sigma)))
            seconds[f"ours, sigma {sigma:g}"].append(spent)
            if sigma == AT:
                found = answer
        spent, expected = cpu_seconds(lambda: broadcasting(points, x_t, AT))
        seconds["broadcasting"].append(spent)
    difference = float((found - expected).abs().max())
    slow = statistics.median(seconds["broadcasting"])

    print(f"{len(points):,} x {points.shape[1]} keys, {len(x_t)} queries, one thread, median of {options.repeats} in turns\n")
    print("| method | CPU s | times faster | MiB beyond the data |\n|---|---:|---:|---:|")
    for name, spent in seconds.items():
        median = statistics.median(spent)
        print(f"| {name} | {median:.2f} | {slow / median:.1f} | {extra[name.split(',')[0]]:.0f} |")
    print(f"\nlargest difference of the answers at sigma {AT:g}: {difference:.1e}")
    result = {"cpu_seconds": seconds, "extra_mib": extra, "largest_difference": difference, "environment": environment()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result | {"keys": len(points), "queries": len(x_t)}, indent=1))


if __name__ == "__main__":
    main()
