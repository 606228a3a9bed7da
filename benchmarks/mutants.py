"""Mutation testing: one small fault at a time in the numerical code, and whether the tests notice it.

    python benchmarks/mutants.py                                  a sample of 400 faults, on one core
    python benchmarks/mutants.py --sample 0 --only ambient/paths  all faults of one module

Faults are those of cosmic-ray: an operator, a comparison, a number, a sign, a condition, a decorator. Left out are bit operations
on real numbers, identity for equality, and texts of error messages. Each is planted in a copy of the tree and runs, in a fork of
one warm process, the tests that TESTS names for its module, with few draws. A fault of `ambient` that passes these runs all of
theory_checks and tests/ambient as well. docs/mutants.md lists the survivors with the reason.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {  # theory_checks/test_NAME.py of each module of ambient, beside its tests/ambient/test_MODULE.py
    "paths": ["transition", "schedule"],
    "tweedie": ["double_tweedie", "tweedie", "parametrisations"],
    "losses": ["ambient", "sure", "antithetic", "estimators", "noisier2noise", "parametrisations"],
    "kernels": ["reverse_sde", "matched_step"],
    "noisy_mixture": ["noisy_mixture", "noisy_mixture_limit", "noisy_mixture_shrinkage"],
    "worlds": ["worlds", "empirical"],
    "samplers": ["reverse_chain"],
    "randomness": [],
}
AMBIENT = {
    f"ambient/{name}": [f"tests/ambient/test_{name}.py", *(f"theory_checks/test_{check}.py" for check in checks)]
    for name, checks in CHECKS.items()
}
TESTS = AMBIENT | {  # the tests that must notice a fault of each module, the fastest first
    "toy/levels": ["tests/toy/test_levels.py"],
    "toy/training": ["tests/toy/test_training.py", "tests/toy/test_gmm_resume.py::test_a_trainer_resumes_to_the_bit"],
    "toy/evaluation": ["tests/toy/test_evaluation.py"],
    "toy/methods/consistent": ["tests/toy/test_consistent.py"],
    "toy/images/classifier": ["tests/toy/test_mnist_features.py"],
    "sdxl/train/objective": ["tests/sdxl/test_objective.py", "tests/sdxl/test_draws.py", "tests/sdxl/test_loop.py"],
    "sdxl/train/loop": ["tests/sdxl/test_loop.py", "tests/sdxl/test_train.py"],
    "sdxl/model/sampling": ["tests/sdxl/test_sampled.py", "tests/sdxl/test_attacked.py", "tests/sdxl/test_generate.py"],
    "sdxl/model/lora": ["tests/sdxl/test_lora.py"],
    "sdxl/corrupt/noisy_set": ["tests/sdxl/test_noisy_set.py", "tests/sdxl/test_corrupt.py"],
    "sdxl/corrupt/shards": ["tests/sdxl/test_corrupt.py"],
    "sdxl/corrupt/corruptor": ["tests/sdxl/test_corrupt.py"],
    "sdxl/images/crop": ["tests/sdxl/test_corrupt.py"],
    "sdxl/model/text": ["tests/sdxl/test_corrupt.py"],
    "sdxl/model/vae": ["tests/sdxl/test_corrupt.py"],
    "sdxl/attack/restore": ["tests/sdxl/test_attacked.py", "tests/sdxl/test_calibration.py"],
    "harness/copying": ["tests/harness/test_copying.py", "tests/sdxl/test_calibration.py"],
    "harness/statistics": ["tests/harness/test_statistics.py", "tests/harness/test_copying.py"],
    "harness/metrics": ["tests/toy/test_mnist_features.py", "tests/sdxl/test_fid.py"],
    "harness/neighbours": ["tests/harness/test_neighbours.py"],
    "sdxl/evaluate/distances/measure": ["tests/sdxl/test_fid.py"],
}
EVERYTHING = ["theory_checks", "tests/ambient"]
LEFT_OUT = "not faults and not two_processes and not sigterm"  # those that plant faults themselves; subprocesses
HEAVY = ("diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl", "transformers.models.clip.modeling_clip")
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow"}
ORDER = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}
OPPOSITES = ({"Is", "IsNot"}, {"In", "NotIn"})
LIMIT = 300  # CPU seconds for one mutant, and six times as many of the clock; a mutant that exceeds them counts as noticed


class Mutant(NamedTuple):
    """One fault: an operator of cosmic-ray at one of its places in a module."""

    module: str
    operator: str
    occurrence: int
    line: int


def says_something(operator: str) -> bool:
    """Whether an operator of cosmic-ray makes faults that someone could make in this code."""
    kind, *change = operator.removeprefix("core/").split("_")
    pair = set(change)
    if kind == "ReplaceBinaryOperator":
        return pair <= ARITHMETIC
    if kind == "ReplaceComparisonOperator":
        return pair <= ORDER or pair in OPPOSITES
    return "Invert" not in pair and kind not in ("VariableReplacer", "VariableInserter", "NoOp", "ReplaceKeyword")


@cache  # it may be edited meanwhile
def source_of(module: str) -> str:
    return (ROOT / f"{module}.py").read_text()


def mutants_of(module: str) -> Iterator[Mutant]:
    """All mutants that compile and are not in the text of an error."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    source = source_of(module)
    messages = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    for name in sorted(filter(says_something, plugins.operator_names())):
        operator = plugins.get_operator(name)()
        places = [place for node in ast_nodes(get_ast(source)) for place in operator.mutation_positions(node)]
        for occurrence, ((line, _), _) in enumerate(places):
            changed = mutate_code(source, operator, occurrence)
            if line not in messages and changed not in (None, source) and compiles(changed):
                yield Mutant(module, name, occurrence, line)


def compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def plant(mutant: Mutant, tree: Path, number: int) -> tuple[str, str]:
    """Write the mutant into the copy; the line before and after. The time of the file is new each time: no stale bytecode."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    source = source_of(mutant.module)
    changed = mutate_code(source, plugins.get_operator(mutant.operator)(), mutant.occurrence)
    path = tree / f"{mutant.module}.py"
    path.write_text(changed)
    os.utime(path, (number, number))
    before, after = source.splitlines(), changed.splitlines()
    return before[mutant.line - 1].strip(), after[mutant.line - 1].strip() if len(after) == len(before) else "(line removed)"


def restore(mutant: Mutant, tree: Path, number: int) -> None:
    (path := tree / f"{mutant.module}.py").write_text(source_of(mutant.module))
    os.utime(path, (number, number))


def passes(tests: list[str], tree: Path) -> bool:
    """Run the tests in a fork that has loaded torch and pytest but no module of this project."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
        signal.alarm(6 * LIMIT)  # of one that waits for ever
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path.insert(0, str(tree))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        import pytest

        quiet = ["-q", "-n0", "-p", "no:cacheprovider", "-k", LEFT_OUT]
        quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is loaded
        os._exit(int(pytest.main(["-x", *quiet, *tests])))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 5:
        raise SystemExit(f"no tests in {tests}")
    return code == 0


def load_once() -> None:
    """Import, before any fork, the modules that take long to import."""
    for name in ("hypothesis", "sklearn.mixture", "peft", "accelerate", "pytorch_optimizer", "pandas", *HEAVY):
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


def copy_tree(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name.startswith(("ambient/", "harness/", "toy/", "sdxl/", "theory_checks/", "tests/")) or name == "pyproject.toml":
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)


def run(mutants: list[Mutant], out: Path) -> list[dict]:
    """The result of each mutant, also written to a file line by line, so that a stopped run can resume."""
    done = {tuple(row["mutant"]): row for row in map(json.loads, out.read_text().splitlines())} if out.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        copy_tree(tree)
        for tests in {tuple(TESTS[mutant.module]) for mutant in mutants}:
            if not passes(list(tests), tree):
                raise SystemExit(f"{' '.join(tests)} do not pass without a mutant")
        for number, mutant in enumerate(mutants):
            if tuple(mutant) in done:
                continue
            start = time.monotonic()
            before, after = plant(mutant, tree, 2 * number + 1)
            survived = passes(TESTS[mutant.module], tree) and (mutant.module not in AMBIENT or passes(EVERYTHING, tree))
            restore(mutant, tree, 2 * number + 2)
            row = {"mutant": mutant, "survived": survived, "before": before, "after": after}
            done[tuple(mutant)] = row
            with open(out, "a") as file:
                file.write(json.dumps(row) + "\n")
            mark = "SURVIVED" if survived else "killed"
            print(
                f"{number + 1}/{len(mutants)} {mark} {time.monotonic() - start:.1f} s  {mutant.module}:{mutant.line}  {after}",
                flush=True,
            )
    return [done[tuple(mutant)] for mutant in mutants]


def main() -> None:
    """Sample the mutants, run the tests, print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sample", type=int, default=400, help="faults drawn at random, each as likely; 0 for all (default: 400)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", nargs="+", default=["ambient"], help="modules, or packages (default: ambient)")
    parser.add_argument("--out", type=Path, default=Path("runs/mutants.jsonl"), help="verdicts, one a line; resumes")
    parser.add_argument("--list", action="store_true", help="only list the faults")
    options = parser.parse_args()
    os.environ.update(HYPOTHESIS_PROFILE="mutants", OMP_NUM_THREADS="1")
    chosen = [module for module in TESTS if any(f"{module}/".startswith(f"{word}/") for word in options.only)]
    mutants = [mutant for module in chosen for mutant in mutants_of(module)]
    total = len(mutants)
    if options.sample and options.sample < total:
        mutants = sorted(random.Random(options.seed).sample(mutants, options.sample))
    if options.list:
        print(*mutants, f"{len(mutants)} of {total}", sep="\n")
        return
    load_once()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = run(mutants, options.out)
    killed = sum(not row["survived"] for row in rows)
    print(f"\n{killed} of {len(rows)} mutants killed, {100 * killed / len(rows):.1f} %; {total} exist in {', '.join(chosen)}")
    for row in rows:
        if row["survived"]:
            print(f"{row['mutant'][0]}:{row['mutant'][3]}  {row['before']}  ->  {row['after']}")


if __name__ == "__main__":
    main()
