"""`python -m sdxl figures`: what directories are, what is drawn from them, what is missing, mistakes; from real commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from harness import records
from harness.config import parse
from sdxl.__main__ import main
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.evaluate.memorization import table as shown
from sdxl.evaluate.results import Difference, Mean, Memorization
from sdxl.figures import evaluations
from sdxl.figures.runs import Runs, read_directory
from sdxl.generate import options
from sdxl.images.sheets import GAP, LEAST, thumbnail
from sdxl.model import lora
from sdxl.rehearse import COMMANDS, RehearseOptions, stages
from sdxl.reproduce.experiments import FEATURES
from tests.sdxl.launch import refusal
from tests.sdxl.rehearsed import SHOWN

NAMES = ["Fig. 1", "Fig. 2", "Fig. 3", "Fig. 4", "Table 1", *(f"Fig. {i}" for i in range(5, 12))]


def memorized(folder: Path) -> Memorization:
    return records.read(folder / "results.json", Memorization)


def figures(runs: Path, out: Path, *names: str) -> list[str]:
    return ["figures", "--runs", *(str(runs / name) for name in names or SHOWN), "--out", str(out)]


def page(out: Path) -> tuple[dict[str, str], int]:
    """The text of each figure's section, and the number of pictures inside the file."""
    html, count = re.subn(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", (out / "report.html").read_text())
    assert not re.search(r'(src|href)="[^"]', html)  # nothing from elsewhere
    parts = re.split(r"<h2>", html)[1:]
    texts = [part.partition("</h2>") for part in parts]
    return {name.split(":")[0]: " ".join(unescape(re.sub(r"<[^>]+>", "", text)).split()) for name, _, text in texts}, count


def test_every_figure_is_drawn_from_runs_that_have_it(runs, tmp_path, capsys):
    main([*figures(runs, tmp_path), "--data", str(runs / "digits"), "--split", "train"])
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    sections, count = page(tmp_path)
    assert list(sections)[:12] == NAMES
    assert [name for name, text in sections.items() if "Not drawn" in text] == ["Fig. 3"]  # no attack on the base
    assert count == len(list((tmp_path / "figures").glob("*.png"))) == 12
    assert "In the paper." in sections["Fig. 8"]
    assert "Here." in sections["Fig. 8"]


def test_its_numbers_are_those_of_the_results(runs, tmp_path):
    main(figures(runs, tmp_path))
    sections, _ = page(tmp_path)
    rows = json.loads((runs / "fid/results.json").read_text())["rows"]
    results = json.loads((runs / "restoration/results.json").read_text())
    assert min(len(rows), len(results["rows"])) > 1
    for row in rows:
        assert f"{row['frechet']:.4g}" in sections["Fig. 4"]
    for row in results["rows"]:
        assert f"{row['latent_mean']:.4f} ({row['latent_std']:.4f})" in sections["Table 1"]
    [first, second] = [[row["latent_mean"] for row in results["rows"] if row["level"] == 900 and row["t_n"]][i] for i in (0, 1)]
    assert f"less 1 {100 * (max(first, second) / min(first, second) - 1):.1f} %" in sections["Table 1"]
    [pair] = [row for row in memorized(runs / "memory").differences if "samples" in row.kind]
    assert f"{pair.less} {evaluations.signed(pair.similarity.mean)} (" in sections["Fig. 8"]
    [row] = memorized(runs / "memory_masked").models
    assert f"masked {shown.mean_and_interval(row.copies)} {shown.mean_and_interval(row.control.copies)}" in sections["Fig. 9"]
    assert "noisy, 6 images." in sections["Fig. 11"]
    assert "6 images of digits, tn = 500" in sections["What was read"]


def test_commands_of_the_page_make_the_same_again(runs, tmp_path):
    main(figures(runs, tmp_path))
    sections, _ = page(tmp_path)
    [line] = re.findall(r"python -m sdxl (generate .*)$", sections["Fig. 7"])
    words = shlex.split(line)
    asked = parse(options.GenerateOptions, words[1:], prog="", description="")
    made = json.loads((runs / "prompts_plain/manifest.json").read_text())["config"]
    assert asked == options.GenerateOptions(**made)
    before = {file.name: file.stat().st_mtime_ns for file in (runs / "prompts_plain/images").iterdir()}
    main(words)  # the same config: nothing is made anew, and nothing refused
    assert {file.name: file.stat().st_mtime_ns for file in (runs / "prompts_plain/images").iterdir()} == before


@pytest.mark.parametrize("name", ["restoration", "attack_plain", "masked", "samples_base", "posterior"])
def test_whatever_it_shows_comes_again_from_its_own_record(runs, tmp_path, name):
    """The options that results or a manifest hold, in another folder: the same numbers and pictures, to the bit."""
    found = read_directory(runs / name, name)
    [_, _, _, *words] = shlex.split(Runs([]).command(replace(found, folder=tmp_path / name)))
    main(words)
    again = read_directory(tmp_path / name, name)
    if name == "restoration":
        assert again.about == found.about
    else:
        assert again.fingerprint == found.fingerprint


def test_rows_of_samples_stand_in_the_order_of_the_paper(runs, tmp_path):
    """The base, then without consistency, then with it, whatever the order of --runs; the pictures are those of the folders."""
    main(figures(runs, tmp_path, "samples_consistent", "consistent", "samples_base", "samples_plain"))
    with Image.open(tmp_path / "figures/by_level.png") as found:
        for row, name in enumerate(("samples_base", "samples_plain", "samples_consistent")):
            second = thumbnail(runs / name / "images/000001.png").resize((LEAST, LEAST), Image.Resampling.NEAREST)
            step = second.width + GAP
            left, top = found.width + GAP - 4 * step, row * step  # of five
            assert found.crop((left, top, left + second.width, top + second.width)).tobytes() == second.tobytes()


def test_what_is_missing_is_said_with_the_command_that_makes_it(runs, tmp_path):
    main(figures(runs, tmp_path, "noisy", "plain"))
    sections, count = page(tmp_path)
    assert count == 0
    assert all("Not drawn" in sections[name] for name in NAMES)
    [wanted] = re.findall(r"python -m sdxl generate .* --images 6", sections["Fig. 5"])
    assert "these runs lack generated images without a caption" in sections["Fig. 6"]
    asked = wanted.replace("RUN", f"{runs / 'plain'} --base {runs / 'mini'}").replace("NOISY", str(runs / "noisy")).split()
    main([*asked[3:], "--out", str(tmp_path / "posterior"), "--steps", "2"])
    main(["figures", "--runs", str(runs / "noisy"), str(tmp_path / "posterior"), "--out", str(tmp_path)])
    assert page(tmp_path)[1] == 1  # and pictures of the earlier page do not stay
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["behind_noise.png"]


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.01, 0.02, "right"), (-0.02, -0.01, "left"), (-0.01, 0.01, "not told apart")]
)
def test_the_word_for_two_models_follows_from_the_interval(low, high, word):
    mean = Mean((low + high) / 2, (low, high))
    row = Difference("a", "b", "t = 900, samples", similarity=mean, close=mean, copies=mean)
    [_, told] = evaluations.differences([row])
    assert word in told[2]
    assert "-0" not in told[3]  # signs are minus signs


def test_two_runs_of_one_name_are_told_apart(runs, tmp_path):
    again = shutil.copytree(runs / "samples_base", tmp_path / "again" / "samples_base")
    found = Runs.read((str(runs / "samples_base"), str(again)))
    assert [one.label for one in found.directories] == [str(runs / "samples_base"), str(again)]
    main(["figures", "--runs", str(runs / "samples_base"), str(again), "--out", str(tmp_path / "out")])
    assert str(again) in page(tmp_path / "out")[0]["What was read"]


def test_a_model_whose_images_are_not_here_is_not_guessed(runs, tmp_path):
    """Not among the runs, or others of that name."""
    other = shutil.copytree(runs / "attack_consistent", tmp_path / "attack_plain")
    main(["figures", "--runs", str(runs / "memory"), str(other), "--out", str(tmp_path / "out")])
    sections, _ = page(tmp_path / "out")
    assert "a model that is not among these runs" in sections["Fig. 3"]
    assert "Not drawn" in sections["Fig. 10"]
    moved = [str(shutil.copytree(runs / name, tmp_path / "moved" / name)) for name in ("attack_plain", "samples_plain")]
    main(["figures", "--runs", str(runs / "memory"), *moved, "--out", str(tmp_path / "found")])
    assert "Not drawn" not in page(tmp_path / "found")[0]["Fig. 10"]


def test_mistakes(runs, tmp_path):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    assert "--runs is missing" in refusal("figures", "--out", out)
    assert "is no folder" in refusal(*figures(runs, out, "nothing"))
    assert "is no directory of corrupt, train" in refusal("figures", "--runs", empty, "--out", out)
    assert "twice" in refusal("figures", "--runs", runs / "noisy", f"{runs}/./noisy", "--out", out)
    for name, file in (("plain", "DONE"), ("fid", "DONE"), ("samples_base", "manifest.json"), ("noisy", "manifest.json")):
        (shutil.copytree(runs / name, tmp_path / name) / file).unlink()
        assert "is not finished" in refusal("figures", "--runs", tmp_path / name, "--out", out)
    for name, file, word in (
        ("posterior", "manifest.json", "no JSON"),
        ("memory", "results.json", "no JSON"),
        ("plain", "config.yaml", "damaged"),
    ):
        copy = shutil.copytree(runs / name, tmp_path / "damaged" / name)
        (copy / file).write_text("{")
        message = refusal("figures", "--runs", copy, "--out", out)
        assert f"{name}/{file}" in message
        assert word in message
    (copy := shutil.copytree(runs / "fid", tmp_path / "other"))
    (copy / "results.json").write_text("{}")
    assert "results.json: config is missing" in refusal("figures", "--runs", copy, "--out", out)
    next((shutil.copytree(runs / "attack_plain", tmp_path / "attack_plain") / "images").iterdir()).unlink()
    assert "does not match its manifest.json" in refusal("figures", "--runs", tmp_path / "attack_plain", "--out", out)
    (shutil.copytree(runs / "memory", tmp_path / "no lines") / "similarities.csv").unlink()
    assert "similarities.csv cannot be read" in refusal("figures", "--runs", tmp_path / "no lines", "--out", out)
    assert "holds no report of figures" in refusal(*figures(runs, runs / "noisy"))
    assert not out.exists()


def compare(runs: Path, out: Path, *images: str, control: tuple[str, ...] = (), training: Path | None = None) -> Path:
    control = ("--control", *(str(runs / name) for name in control)) if control else ()
    known = ["--training", str(training)] if training else ["--training", f"{runs}/digits", "--training-split", "train"]
    main(["evaluate", "memorization", "--images", *(str(runs / name) for name in images), *control, *known, "--held-out",
          f"{runs}/attacked", "--held-out-split", "held_out", "--extractor", FEATURES, "--out", str(out)])  # fmt: skip
    return out


def test_controls_among_fewer_images_are_said_and_a_comparison_is_shown_once(runs, tmp_path):
    pair, both = ("attack_plain", "attack_consistent"), ("control_plain", "control_consistent")
    unequal = compare(runs, tmp_path / "unequal", *pair, control=both)
    again = compare(runs, tmp_path / "again", *pair)
    folders = [str(folder) for folder in (again, unequal, runs / "memory", *(runs / name for name in pair))]
    main(["figures", "--runs", *folders, "--out", str(tmp_path / "out")])
    told = page(tmp_path / "out")[0]["Fig. 8"]
    assert told.count("attacks are compared with 200 images and their controls with 8") == 1
    with open(tmp_path / "out" / "report.html") as file:
        html = file.read()
    assert html.count("<code>unequal</code></p>") == 1
    assert html.count("<code>memory</code></p>") == 1  # among other images
    assert "<code>again</code></p>" not in html  # the same as in unequal, and without controls


def test_commands_are_complete_where_the_directories_say_it(runs, tmp_path):
    """A noisy set and a training come again from the lines of the page."""
    found = Runs.read(tuple(str(runs / name) for name in ("noisy", "consistent", "samples_base")))
    lines = [found.command(replace(one, folder=tmp_path / one.label)) for one in found.directories]
    assert "# not recorded: columns, captions" in lines[0]
    lines[0] = lines[0].replace("--data DATA", f"--data {runs / 'digits'} --split train")  # the set does not know where it lay
    for line, more in zip(lines[:2], ([], ["--validate-every", "0", "--tracker", "none"]), strict=True):
        main([*shlex.split(line, comments=True)[3:], *more])
    assert NoisySet(tmp_path / "noisy").digest == NoisySet(runs / "noisy").digest
    again, once = (lora.read(folder / "consistent" / lora.FILE) for folder in (tmp_path, runs))
    assert all(bool((again[name] == once[name]).all()) for name in once)
    samples = found.directories[2]
    two = [replace(samples, config=replace(samples.config, base="another")), *found.directories]
    assert "--base BASE" in Runs(two).command(found.directories[1])


def test_a_dry_run_writes_nothing(runs, tmp_path, capsys):
    main([*figures(runs, tmp_path / "out"), "--dry-run"])
    said = capsys.readouterr().out
    assert f"{runs / 'masked'}: masking attack" in said
    assert "Fig. 3: missing" in said
    assert not (tmp_path / "out").exists()


def test_the_rehearsal_shows_all_that_it_makes():
    """Every directory that its page is made from is one that an earlier command writes; what is not shown is a control."""
    lines = stages(RehearseOptions())
    written = [words[-1] for words in lines[:-1]]
    shown = lines[-1][lines[-1].index("--runs") + 1 : lines[-1].index("--data")]
    assert len(set(written)) == len(written)
    assert set(shown) <= set(written)
    assert all("control" in name for name in set(written) - set(shown))
    assert "{" not in " ".join(map(" ".join, lines))
    assert COMMANDS.count("attack mask") == 2
