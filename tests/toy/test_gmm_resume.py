"""Stopping and starting again ends in the same bits, whatever stopped it and wherever."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
import torch

from ambient.paths import VarianceExploding
from ambient.randomness import generator
from harness.errors import Interrupted
from tests.toy.command_line import final_weights, finish, same_bits, start, wait_for_step, wait_until_left, without_pool
from toy.data.mixtures import MIXTURES
from toy.experiments import gmm
from toy.methods import recipes
from toy.problem import from_world
from toy.training import Trainer

WORDS = ("--preset", "smoke", "--method", "ours", "ambient-only", "--evaluations", "0.25", "--workers", "1")
NETWORKS = ("ours", "ambient-only")


@pytest.fixture(scope="module")
def bare():
    """Pictures and the report are drawn elsewhere; here they would be most of the time, as would a pool of processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gmm.figures, "draw_all", lambda *_: None)
        patch.setattr(gmm.pages, "write_points", lambda *_: None)
        without_pool(patch)
        yield


@pytest.fixture(scope="module")
def uninterrupted(bare, tmp_path_factory):
    out = tmp_path_factory.mktemp("resume") / "uninterrupted"
    begun = time.monotonic()
    gmm.main([*WORDS, "--out", str(out)])
    (out / "seconds").write_text(str(time.monotonic() - begun))
    return out


def complete(out, uninterrupted):
    """Run to the end and compare."""
    gmm.main([*WORDS, "--out", str(out)])
    compare(out, uninterrupted)


def compare(out, uninterrupted):
    """Every network, its average, its optimiser and its losses, and every number of the table but the time it took."""
    for network in NETWORKS:
        assert same_bits(final_weights(out, network), final_weights(uninterrupted, network))
        one, other = (folder / "networks/seed_0" / network / "metrics.jsonl" for folder in (out, uninterrupted))
        assert one.read_text() == other.read_text()
    first, second = (json.loads((folder / "results.json").read_text())["summary"] for folder in (out, uninterrupted))
    for row in first + second:
        del row["cpu_seconds"]
    assert first == second
    assert (out / "DONE").exists()


def test_seconds_of_a_shared_network_count_once(bare, tmp_path):
    def seconds(*methods):
        out = tmp_path / "-".join(methods)
        gmm.main(["--preset", "smoke", "--evaluations", "0.1", "--samples", "100", "--method", *methods, "--out", str(out)])
        return {row["method"]: row["cpu_seconds"] for row in json.loads((out / "results.json").read_text())["rows"]}

    both, alone = seconds("ambient-only", "early-stop"), seconds("early-stop")
    assert both["early-stop"] < both["ambient-only"] / 2
    assert alone["early-stop"] > both["ambient-only"] / 4  # the same training; the load of the machine varies


def test_bits_are_compared():
    state = {"a": [torch.tensor([1.0, float("nan")])], "b": 3}
    assert same_bits(state, {"a": [torch.tensor([1.0, float("nan")])], "b": 3})
    assert not same_bits(state, {"a": [torch.tensor([1.0 + 2**-23, float("nan")])], "b": 3})
    assert not same_bits(state, {"a": [torch.tensor([1.0, float("nan")])], "b": 4})


def test_signals_save_and_change_nothing(tmp_path, uninterrupted):
    """Ctrl-C (to the whole group, as a terminal sends it), SIGTERM (to the process), then kill -9 (to the group)."""
    out = tmp_path / "run"
    for step, which in ((100, signal.SIGINT), (200, signal.SIGTERM), (200, signal.SIGKILL)):
        process = start("gmm", *WORDS, "--out", out)
        wait_for_step(process, out / "networks/seed_0/ours", step)
        if which == signal.SIGTERM:
            process.send_signal(which)
        else:
            os.killpg(process.pid, which)
        answer = finish(process)
        if which != signal.SIGKILL:
            assert answer.code == 130
            assert answer.error == "stopped: everything is saved; the same command goes on from there\n"
            newest = sorted((out / "networks/seed_0/ours/checkpoints").glob("step_*.safetensors"))[-1]
            assert int(newest.name[5:14]) >= step
        assert not (out / "DONE").exists()
    complete(out, uninterrupted)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path, uninterrupted):
    """Of processes at work, from their start to the end of the run; half of the kills leave the workers without a parent.

    A run that ends before it is killed is compared, and another begun.
    """
    chance, kills, runs, seconds = random.Random(0), 0, 0, float((uninterrupted / "seconds").read_text())
    while kills < 20:
        out = tmp_path / f"run_{runs}"
        process = start("gmm", *WORDS, "--workers", "2", "--out", out)
        time.sleep(chance.uniform(0.1, 1.2) * min(seconds, 30.0))
        at_work = process.poll() is None
        if at_work and kills % 2:
            process.kill()
            wait_until_left(process, seconds=60)
        elif at_work:
            os.killpg(process.pid, signal.SIGKILL)
        answer = finish(process)
        assert answer.code in (-signal.SIGKILL, 0), answer
        kills += answer.code != 0
        if (out / "DONE").exists():
            compare(out, uninterrupted)
            runs += 1
    complete(tmp_path / f"run_{runs}", uninterrupted)


@pytest.mark.parametrize("optimiser", ["soap", "adam"])
def test_a_trainer_resumes_to_the_bit(tmp_path, optimiser):
    """SOAP's preconditioners too, which are renewed every tenth step: stopped between, at step 7 and then at step 33."""
    problem = from_world(MIXTURES["line3"].build(), VarianceExploding(), 0.4, count=500, seed=0)
    recipe = recipes.OURS.changed((f"optimiser={optimiser}",))

    def trainer(folder, last_step=None):
        asked = iter(range(1, 10**6))
        stop = lambda: last_step is not None and next(asked) >= last_step  # noqa: E731
        return Trainer(problem, tmp_path / folder, {"seed": 0}, 0, 40_000, lambda *_: None, stop)

    def train(trainer):
        return trainer.train("ours", lambda h, draw: recipe.loss(problem, h, draw), optimiser=recipe.trained_by())

    whole = train(trainer("whole"))
    for steps in (7, 26):
        with pytest.raises(Interrupted, match="ours is saved at step"):
            train(trainer("parts", steps))
    assert not same_bits(train(trainer("other", None)).state_dict(), {k: v + 1 for k, v in whole.state_dict().items()})
    finished = trainer("parts")
    assert same_bits(train(finished).state_dict(), whole.state_dict())
    assert finished.evaluations >= 40_000
    last = trainer("parts")
    again = train(last)  # loads what is done
    x = torch.randn(5, 1, generator=generator(0, "test"))
    assert torch.equal(again(x, 0.3), whole(x, 0.3))
    assert recipes.METHODS[0].network == "ours"
    assert 0 < finished.earlier < last.earlier  # CPU seconds of those that went before
