"""`python -m toy mnist` and `... table1`: every mistake one clear line, what a run leaves, what an interruption changes."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest

from tests.toy.command_line import Here, final_weights, finish, same_bits, start, wait_until
from tests.toy.conftest import COMPARED, DIGITS, METHODS, TABLE1
from toy.__main__ import COMMANDS
from toy.experiments import table1
from toy.experiments.mnist import NO_LABELS

TEXTS = ("results.json", "table.md", "report.html", "config.yaml", "environment.json", "DONE")


@pytest.fixture
def toy(monkeypatch, capsys):
    return Here(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tabel1"], "unknown command 'mnist tabel1'; did you mean mnist table1?"),
        (["foo"], "unknown command 'mnist foo'; known: mnist table1, mnist figures, mnist memorization"),
        (["mnist"], "unknown command 'mnist mnist'; known: mnist table1, mnist figures, mnist memorization"),
        (["--methd", "ours"], "unknown option --methd; did you mean --method?"),
        (["--method", "our"], "--method does not know 'our'; did you mean ours?"),
        (["--method", "deconvolution"], "--method does not know 'deconvolution'"),
        (["--method", "ours", "ours"], "--method names 'ours' twice"),
        (["--path", "vpp"], "--path does not know 'vpp'; did you mean vp?"),
        (["--path", "sdxl", "--t-n", "1000"], "--t-n must be between 1 and 999; got 1000"),
        (["--path", "sdxl", "--t-n", "0"], "--t-n must be between 1 and 999; got 0"),
        (["--t-n", "500.5"], "--t-n must be a whole number; got '500.5'"),
        (["--sigma-n", "0"], "--sigma-n must be above 0 and below 100; got 0.0"),
        (["--sigma-n", "nan"], "--sigma-n must be finite"),
        (["--t-n", "300"], "--t-n means nothing on the ve path; give --sigma-n"),
        (["--path", "sdxl", "--sigma-n", "0.3"], "--sigma-n means nothing on the sdxl path; give --t-n"),
        (["--size", "0"], "can have size 28, 14, 7; got 0"),
        (["--clean-share", "0.0001"], "--clean-share 0.0001 makes 0 of 500 images clean"),
        (["--clean-share", "0.99999"], "--clean-share 0.99999 makes 500 of 500 images clean"),
        (["table1", "--clean-share", "0.0001"], "--clean-share 0.0001 makes 0 of 500 images clean"),
        (["--recipe", "kernel"], "--recipe takes KEY=VALUE; got 'kernel'"),
        (["--recipe", "weight=1", "--method", "paper"], "--recipe changes the method ours, which is not among those"),
        (["--world", "smoth"], "--world does not know 'smoth'; did you mean smooth?"),
        (["--network", "cnov"], "--network does not know 'cnov'; did you mean conv?"),
        (["--skip", "wienr"], "--skip does not know 'wienr'; did you mean wiener?"),
        (["--clean-share", "1"], "--clean-share must be at least 0 and below 1; got 1.0"),
        (["--images", "99"], "--images must be between 100 and 10,000,000; got 99"),
        (["--data", "digits8", "--images", "1401"], "digits8: 1401 training images asked for; choose from 100 to 1400"),
        (["--points", "99"], "--points must be between 100"),
        (["--samples", "99"], "--samples must be between 100"),
        (["--steps", "1"], "--steps must be between 2"),
        (["--data", "mnits"], "unknown data 'mnits'; did you mean mnist?"),
        (["--data", "nowhere.npz"], "cannot read nowhere.npz"),
        (["--recipe", "wieght=1"], "unknown --recipe 'wieght'; did you mean weight?"),
        (["table1", "--path", "ve"], "--path does not know 've'; known: sdxl"),
        (["table1", "--levels", "0"], "--levels must be between 1 and 999; got 0"),
        (["table1", "--levels", "100", "1000"], "--levels must be between 1 and 999; got 1000"),
        (["table1", "--levels", "100.5"], "--levels must be a whole number; got '100.5'"),
        (["table1", "--levels", "500", "100"], "--levels must rise; got 500 100"),
        (["table1", "--levels", "100", "100"], "--levels names 100 twice"),
        (["table1", "--method", "paprika"], "--method does not know 'paprika'"),
        (["table1", "--points", "10"], "--points must be between 100 and 10,000,000; got 10"),
        (["table1", "--t-n", "100"], "unknown option --t-n"),
    ],
    ids=str,
)
def test_mistakes_are_one_line_and_leave_nothing(toy, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in toy.refusal("mnist", *words, "--preset", "smoke")
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".html")] == []


def test_the_exact_answer_needs_a_known_world(toy, tmp_path, hasty):
    message = toy.refusal("mnist", *DIGITS, "--method", "exact", "--out", tmp_path / "run")
    assert "method exact cannot be run here: it needs the clean distribution, which is unknown for these data" in message
    assert not (tmp_path / "run").exists()


def test_help_of_each_experiment(toy):
    for name in COMMANDS:
        answer = toy(*name.split(), "--help")
        assert answer.code == 0
        assert f"python -m toy {name}" in answer.out


def test_a_comparison_leaves_everything(digit_run):
    for name in TEXTS:
        assert (digit_run / name).exists(), name
    results = json.loads((digit_run / "results.json").read_text())
    assert {(row["method"], row["seed"]) for row in results["rows"]} == {(name, seed) for name in METHODS for seed in (0, 1)}
    for row in results["rows"]:
        oracle = next(other for other in results["rows"] if other["method"] == "oracle" and other["seed"] == row["seed"])
        assert np.isfinite(row["frechet"])
        for excess, mine, least in zip(row["excess"], row["mse"], oracle["mse"], strict=True):
            assert (excess is None) == (mine is None)
            assert excess is None or mine == pytest.approx((1 + excess) * least)
    early = next(row for row in results["rows"] if row["method"] == "early-stop")
    assert [value is None for value in early["mse"]] == [True] * 6 + [False] * 3


def test_images_without_labels_have_no_frechet_distance(toy, tmp_path, hasty):
    file, out = tmp_path / "own.npz", tmp_path / "run"
    np.savez(file, x_train=np.random.default_rng(0).random((300, 8, 8)))
    answer = toy("mnist", *DIGITS, "--images", "250", "--size", "8", "--data", file, "--method", "wiener", "--out", out)
    assert answer.code == 0, answer.error
    assert NO_LABELS in answer.out
    assert NO_LABELS in (out / "report.html").read_text()
    (row,) = json.loads((out / "results.json").read_text())["rows"]
    assert "frechet" not in row
    assert np.isfinite(row["mse"]).all()
    assert "FD" not in (out / "table.md").read_text()


def test_another_noise_in_the_same_folder_is_refused(toy, digit_run, hasty):
    message = toy.refusal("mnist", *COMPARED, "--sigma-n", "0.5", "--out", digit_run)
    assert "holds a run with another config (sigma_n: 0.6, asked for 0.5)" in message


def test_table1_leaves_everything(table1_run):
    for name in (*TEXTS, "table.csv"):
        assert (table1_run / name).exists(), name
    results = json.loads((table1_run / "results.json").read_text())
    table = pd.read_csv(table1_run / "table.csv")
    assert list(zip(table["t"], table["t_n"], strict=True)) == [(t, t_n) for t in table1.EVALUATED for t_n in (0, 500)]
    assert list(table["own"]) == [t >= t_n for t, t_n in zip(table["t"], table["t_n"], strict=True)]
    for row in results["rows"]:
        np.testing.assert_allclose(table.loc[table["t_n"] == row["level"], "mse"], row["mse"], rtol=1e-6)
    body = (table1_run / "table.md").read_text().splitlines()[2:]
    assert [line.count("~") for line in body] == [0, 1, 1, 0]  # clean, at 500, its difference, mean image: t = 100 is below


def test_an_interrupted_table1_goes_on_to_the_same(tmp_path, table1_run, hasty):
    """Ctrl-C in the second network, as soon as it has begun: the first is not trained again, the second to the same bits."""
    out = tmp_path / "run"
    process = start("mnist", "table1", *TABLE1, "--out", out)
    second = out / "t_n=500/networks/seed_0/ambient-only"
    wait_until(lambda: (second / "config.yaml").exists(), process)
    os.killpg(process.pid, signal.SIGINT)
    answer = finish(process)
    assert (answer.code, answer.error) == (130, "stopped: everything is saved; the same command goes on from there\n")
    (saved,) = (second / "checkpoints").glob("step_*.safetensors")
    assert not (second / "DONE").exists()
    done = out / "t_n=0/networks/seed_0/oracle/DONE"
    before = done.stat().st_mtime_ns
    table1.main([*TABLE1, "--out", str(out)])
    assert done.stat().st_mtime_ns == before
    assert max(path.name for path in (second / "checkpoints").glob("step_*.safetensors")) > saved.name
    for level, network in ((0, "oracle"), (500, "ambient-only")):
        assert same_bits(*(final_weights(run / f"t_n={level}", network) for run in (out, table1_run)))
    assert (out / "table.csv").read_text() == (table1_run / "table.csv").read_text()
