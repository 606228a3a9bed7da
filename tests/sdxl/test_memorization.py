"""`attack noise` and `evaluate memorization` as commands: what they write, two processes, going on, mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from harness.config import to_argv
from sdxl.__main__ import main
from sdxl.evaluate.memorization import options
from sdxl.images.crop import fit
from sdxl.images.photographs import HELD_OUT, TRAINING, Photograph
from sdxl.images.sheets import to_bytes
from sdxl.images.survey import decode
from tests.sdxl.launch import in_two, refusal

IMAGES = 6


def words(base, out: Path) -> list[str]:
    options = {"--base": base.folder, "--data": "photographs", "--images": IMAGES, "--resolution": 64, "--steps": 2}
    return ["attack", "noise", "--t", "900", "--out", str(out), *(str(x) for pair in options.items() for x in pair)]


def compared(*folders: Path, out: Path) -> list[str]:
    data = ["--training", "photographs", "--held-out", "photographs", "--held-out-split", "held_out", "--extractor", "tiny"]
    return ["evaluate", "memorization", "--images", *map(str, folders), *data, "--out", str(out)]


def pictures(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for part in ("images", "strips") for file in sorted((folder / part).iterdir())}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def attacked(tiny_base, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("attacked") / "one"
    main(words(tiny_base, out))
    return out


def test_two_processes_attack_and_compare_alike(attacked, tiny_base, tmp_path):
    """Both commands after one another; the features are made anew, in another cache than that of one process."""
    two = tmp_path / "two" / attacked.name
    answer = in_two(tmp_path, *words(tiny_base, two), "then", *compared(two, out=tmp_path / "by_two"))
    assert answer.out.count("done") == 4, answer.out + answer.error
    assert pictures(attacked) == pictures(two)
    assert len(pictures(attacked)) == 3 * IMAGES  # one step, a sample, a strip
    shutil.rmtree(tmp_path / "cache")
    main(compared(attacked, out=tmp_path / "by_one"))
    one, two = (json.loads((tmp_path / folder / "results.json").read_text()) for folder in ("by_one", "by_two"))
    assert one.pop("config")["images"] != two.pop("config")["images"]  # of other folders
    assert one == two
    for name in ("table.md", "similarities.csv", "histograms.png"):
        assert (tmp_path / "by_one" / name).read_bytes() == (tmp_path / "by_two" / name).read_bytes()


def test_an_attack_goes_on_and_mends_what_is_not_whole(attacked, tiny_base, tmp_path, capsys):
    whole = shutil.copytree(attacked, tmp_path / "whole")
    file = next((whole / "images").glob("*one_step_000003.png"))
    file.write_bytes(file.read_bytes()[:100])
    main(words(tiny_base, whole))
    assert "6 images attacked, 1 now" in capsys.readouterr().out
    assert pictures(attacked) == pictures(whole)


def test_training_images_themselves_are_found_and_shown(tmp_path, attacked):
    """A model that gives back what it was trained on: similarity 1, and each image's match is itself."""
    copies = tmp_path / "copies"
    copies.mkdir()
    chosen = TRAINING[:IMAGES]
    for one in chosen:
        pixels = to_bytes(fit(decode(one.payload()), 64, "center", 0, "")[0])
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(copies / f"{one.key}.png")
    main(compared(copies, attacked, out=tmp_path / "memory"))
    results = json.loads((tmp_path / "memory" / "results.json").read_text())
    rows = {(row["model"], row["kind"]): row for row in results["models"]}
    assert rows["copies", "generated"]["copies"]["mean"] == 1
    assert rows["copies", "generated"]["similarity"]["mean"] == pytest.approx(1, abs=1e-6)
    assert rows["one", "t = 900, samples"]["similarity"]["mean"] < 0.99
    assert results["baselines"]["held out"]["images"] == 6
    assert results["baselines"]["training, nearest other"]["images"] == 24
    with Image.open(tmp_path / "memory" / "matches.png") as sheet:
        left, right = sheet.crop((0, 0, 128, 128)), sheet.crop((132, 0, 260, 128))  # twice their size
        assert left.tobytes() == right.tobytes()  # the nearest of all, and the match that was found


def test_the_same_attack_twice_differs_by_nothing(attacked, tiny_base, tmp_path):
    """Made twice; with another seed it does differ."""
    main(words(tiny_base, tmp_path / "again"))
    assert pictures(tmp_path / "again") == pictures(attacked)
    main(compared(attacked, tmp_path / "again", out=tmp_path / "memory"))
    found = json.loads((tmp_path / "memory" / "results.json").read_text())["differences"]
    assert [row["kind"] for row in found] == ["t = 900, one step", "t = 900, samples"]
    assert all(row["similarity"] == {"mean": 0.0, "interval": [0.0, 0.0]} for row in found)
    main([*words(tiny_base, tmp_path / "other"), "--seed", "1"])
    main(compared(attacked, tmp_path / "other", out=tmp_path / "differs"))
    found = json.loads((tmp_path / "differs" / "results.json").read_text())["differences"]
    assert len(found) == 2
    assert all(row["similarity"]["mean"] != 0 for row in found)


def attack_on_others(base, out: Path, *more: object) -> Path:
    main([*words(base, out), "--split", "held_out", *map(str, more)])
    return out


def test_a_control_that_finds_as_much_leaves_nothing_and_one_that_finds_nothing_all(tiny_base, tmp_path):
    """The attack's results are swapped for known ones: copies of the training images; of the held-out images, or noise."""
    attacked = shutil.copytree(attack_on_others(tiny_base, tmp_path / "control"), tmp_path / "clueless")
    main(words(tiny_base, tmp_path / "attack"))
    for folder, chosen in (("attack", TRAINING), ("control", HELD_OUT)):
        give_back(tmp_path / folder, {one.key: one for one in chosen})
    data = compared(tmp_path / "attack", out=tmp_path / "copied")
    main([*data, "--control", str(tmp_path / "control")])
    row = json.loads((tmp_path / "copied/results.json").read_text())["models"][0]
    assert row["copies"]["mean"] == row["control"]["copies"]["mean"] == 1
    assert row["beyond control"]["similarity"]["mean"] == pytest.approx(0, abs=1e-6)
    assert row["beyond control"]["memorised"] is None  # the control copies all its images: nothing can be told
    main([*data, "--out", str(tmp_path / "alone"), "--control", str(attacked)])
    row = json.loads((tmp_path / "alone/results.json").read_text())["models"][0]
    assert row["control"]["copies"]["mean"] < 1
    assert row["beyond control"]["memorised"]["mean"] == 1
    lines = list(csv.DictReader((tmp_path / "copied/similarities.csv").read_text().splitlines()))
    assert {row["nearest"] == row["key"] for row in lines if row["images"] in ("attack", "control of attack")} == {True}
    assert len(lines) == 24 + 6 + 2 * 2 * IMAGES
    assert "| memorised, by the control |" in (tmp_path / "copied/table.md").read_text()


def give_back(folder: Path, known: dict[str, Photograph]) -> None:
    """Put in place of an attack's results the images that were attacked."""
    for row in json.loads((folder / "manifest.json").read_text())["images"]:
        pixels = to_bytes(fit(decode(known[row["key"]].payload()), 64, "center", 0, "")[0])
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / row["file"])


def test_what_is_no_control(attacked, tiny_base, tmp_path):
    out = tmp_path / "out"
    other = attack_on_others(tiny_base, tmp_path / "other", "--seed", 1)
    data = compared(attacked, out=out)
    assert "differ in seed" in refusal(*data, "--control", other)
    again = shutil.copytree(attacked, tmp_path / "again")
    assert "again attacked astronaut_face, which is none of the --held-out images" in refusal(*data, "--control", again)
    assert "there are 2 for 1" in refusal(*data, "--control", other, again)
    assert "need names of their own" in refusal(*data, "--control", shutil.copytree(other, tmp_path / "two" / attacked.name))
    alone = ["evaluate", "memorization", "--images", attacked, "--training", "photographs", "--control", other]
    assert "needs --held-out" in refusal(*alone)
    assert not out.exists()


def test_an_attack_on_other_images_is_no_attack_on_the_training_images(attacked, tiny_base, tmp_path):
    """With the sets exchanged the memorised share would be 0 whatever the model has memorised."""
    other = attack_on_others(tiny_base, tmp_path / "other")
    said = refusal(*compared(other, out=tmp_path / "out"))
    assert f"{other} attacked no image of --training photographs; give the images that it attacked" in said
    assert not (tmp_path / "out").exists()


def test_the_numbers_follow_from_what_results_say_was_asked(attacked, tmp_path):
    main([*compared(attacked, out=tmp_path / "first"), "--seed", "3"])
    first = (tmp_path / "first/results.json").read_bytes()
    asked = to_argv(options.MemorizationOptions, json.loads(first)["config"])
    shutil.rmtree(tmp_path / "cache")
    main(["evaluate", "memorization", *asked, "--out", str(tmp_path / "again")])
    assert (tmp_path / "again/results.json").read_bytes() == first
    main(["evaluate", "memorization", *asked, "--out", str(tmp_path / "other"), "--seed", "4"])
    other = json.loads((tmp_path / "other/results.json").read_text())
    assert other["models"] != json.loads(first)["models"]


def test_mistakes(attacked, tiny_base, tmp_path):
    out = tmp_path / "out"
    assert "--t must be one of the schedule's times 1 .. 999; got 1000" in refusal(*words(tiny_base, out), "--t", 1000)
    assert "all its samples of an image are the same" in refusal(*words(tiny_base, out), "--kernel", "ddim", "--samples", 2)
    assert "--data is missing" in refusal("attack", "noise", "--out", out)
    assert "unknown command 'attack nose'; did you mean attack noise?" in refusal("attack", "nose")
    assert "--images is missing" in refusal("evaluate", "memorization", "--out", out)
    few = shutil.copytree(attacked, tmp_path / "few")
    next((few / "images").glob("*.png")).unlink()
    assert "does not match its manifest.json" in refusal(*compared(few, out=out))
    assert "leave --captions out" in refusal(*words(tiny_base, out), "--data", attacked / "images", "--captions")
    same = ["--held-out-split", "train"]
    assert "are among those of --training; take others" in refusal(*compared(attacked, out=out), *same)
    main([*words(tiny_base, tmp_path / "four"), "--images", "4"])
    assert "needs at least 5 images, and" in refusal(*compared(tmp_path / "four", out=out))
    assert not out.exists()
