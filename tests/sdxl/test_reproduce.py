"""The paper's experiments on the mini model: the list of commands, and the page that compares their results with the paper."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.config import parse
from harness.errors import Interrupted
from harness.runs import stop_requests
from harness.statistics import mean
from sdxl import script
from sdxl.__main__ import COMMANDS, main
from sdxl.rehearse import RehearseOptions, stages
from sdxl.reproduce import summary
from sdxl.reproduce.experiments import LEVELS, commands
from sdxl.reproduce.options import ReproduceOptions
from sdxl.train.options import TrainOptions
from tests.sdxl.launch import refusal

LISTS = {"reproduce": commands(ReproduceOptions(), 0), "rehearse": stages(RehearseOptions())}


def parsed(words: list[str]) -> object:
    """The options of a command line."""
    name = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
    return parse(COMMANDS[name].options(), words[len(name.split()) :], prog=name, description="")


@pytest.mark.parametrize("words", [words for lines in LISTS.values() for words in lines], ids=lambda words: words[-1])
def test_each_line_is_a_command(words):
    assert parsed(words).out == words[-1]


def test_each_directory_is_read_after_it_was_written_and_shown():
    lines = LISTS["reproduce"]
    run = ReproduceOptions().folder() / "seed_0"
    written = []
    for words in lines:
        read = [word for word in words[:-1] if word.startswith(f"{run}/")]
        assert set(read) <= set(written), words
        assert words[-1] not in written
        written.append(words[-1])
    assert {f"{run}/{name}" for name in summary.SETS} <= set(written)
    hidden = {name.rpartition("/")[2] for name in set(written[:-1]) - set(lines[-1])}
    assert hidden == {*summary.SETS, "control_clean", "control_noisy"}  # they are in tables, not among the figures


def test_models_that_are_compared_differ_in_noise_and_consistency_alone():
    trained = [parsed(words) for words in LISTS["reproduce"] if words[0] == "train" and "few" not in words[-1]]
    assert all(isinstance(options, TrainOptions) for options in trained)
    allowed = {"data", "out", "weight", "consistency_from", "fraction"}
    rest = [{name: value for name, value in vars(options).items() if name not in allowed} for options in trained]
    assert len(rest) == 1 + 2 * len(LEVELS)
    assert all(other == rest[0] for other in rest)
    plain = [options for options in trained if "consistent" not in options.out]
    assert all(options.weight == 0 for options in plain)
    assert all(options.consistency_from == 0.75 * options.steps for options in trained if options not in plain)


def test_options_for_all_trainings_take_the_place_of_the_papers():
    lines = commands(ReproduceOptions(train_options="--space eps --weight 0.5 --fraction 0.1"), 0)
    trained = [parsed(words) for words in lines if words[0] == "train"]
    assert {(options.space, options.fraction) for options in trained} == {("eps", 0.1)}
    weights = {options.out.rpartition("/")[2]: options.weight for options in trained}
    assert weights["plain_500"] == weights["clean"] == weights["few_clean"] == 0
    assert weights["consistent_500"] == weights["few_noisy"] == 0.5
    assert [words for words in lines if words[0] != "train"] == [words for words in LISTS["reproduce"] if words[0] != "train"]


def test_a_request_to_stop_ends_the_list_even_after_the_work_of_a_command(monkeypatch, capsys):
    """A command that is asked to stop with nothing left to do ends as usual; the next one must not begin."""
    begun = []

    def command(words: list[str]) -> None:
        with stop_requests():
            begun.append(words[0])
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("sdxl.__main__.main", command)
    with pytest.raises(Interrupted, match="1 of 3 commands are done"):
        script.run([["one"], ["two"], ["three"]])
    assert begun == ["one"]
    script.run([["last"]])
    assert "# 1 of 1" in capsys.readouterr().out


def test_what_cannot_be_done_is_refused_in_a_line(tmp_path):
    assert "--train-options holds --seed" in refusal("reproduce", "--train-options=--seed 3")
    assert "--rank, --dry-run" in refusal("reproduce", "--train-options=--rank 3 --dry-run")
    assert "--memorization-digits" in refusal("reproduce", "--memorization-digits", 2000, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "--spice" in refusal("reproduce", "--train-options=--spice eps")
    assert "{run}" in refusal("reproduce", "--train-options={run}")
    assert "--images" in refusal("reproduce", "--images", 64)
    assert "--held-out-digits" in refusal("reproduce", "--held-out-digits", 8)
    (tmp_path / "mine.txt").write_text("here")
    assert "mine.txt" in refusal("reproduce", "--out", tmp_path)


def rows_of(results: Path, key: str, name: str) -> dict[str, Any]:
    """The rows of results.json, by their names."""
    return {row[name]: row for row in json.loads(results.read_text())[key]}


@pytest.mark.slow
def test_the_page_has_the_numbers_of_all_seeds(tmp_path):
    words = ["reproduce", "--preset", "smoke", "--out", str(tmp_path)]
    main([*words, "--seeds", "1"])
    main([*words, "--seeds", "2"])  # goes on with the second
    found = [
        json.loads((tmp_path / f"seed_{seed}/restoration/results.json").read_text())["errors"]["latent"] for seed in range(2)
    ]
    table = (tmp_path / "table.md").read_text()
    own = mean([mean(errors["clean"][0]).mean for errors in found])
    assert f"| fine-tuned on clean digits | {own.mean:.4f} +- {own.error:.4f} [+0.0 +- 0.0 %] |" in table
    html = re.sub(r"<[^>]+>", "", (tmp_path / "report.html").read_text())
    assert f"{own.mean:.4f} +- {own.error:.4f}" in html
    distances = [rows_of(tmp_path / f"seed_{seed}/fid/results.json", "rows", "name") for seed in range(2)]
    base, clean = ([1000 * of_seed[name]["kid"] for of_seed in distances] for name in ("samples_base", "samples_clean"))
    [cells] = [line.split(" | ") for line in table.splitlines() if line.startswith(f"| {summary.UNTOUCHED} |")][1:]
    value, ratio = mean(base), mean([a / b for a, b in zip(base, clean, strict=True)])
    assert cells[3] == f"{value.mean:.3g} +- {value.error:.3g}"
    assert cells[4] == f"{ratio.mean:.2f} +- {ratio.error:.2f} |"
    attack = rows_of(tmp_path / "seed_1/memory/results.json", "models", "model")["attack_clean"]["beyond control"]["similarity"]
    assert f"| {attack['mean']:.3f} ({attack['interval'][0]:.3f} to {attack['interval'][1]:.3f}) |" in table
    assert (tmp_path / "seed_1/figures/report.html").exists()
    assert "steps: 2, asked for 3" in refusal(*words, "--steps", 3)
