"""`python -m sdxl evaluate fid`: distances against closed forms and another program's, features kept, images refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from ambient.randomness import generator
from harness import records
from harness.config import to_argv
from harness.errors import Interrupted, UserError
from harness.metrics import frechet
from sdxl.__main__ import main
from sdxl.evaluate.distances import measure as distances
from sdxl.evaluate.distances.options import DistanceOptions
from sdxl.evaluate.distances.table import curves
from sdxl.evaluate.features import extractors as extract
from sdxl.evaluate.features.features import SHARD, features
from sdxl.evaluate.results import Distances
from sdxl.images.folder import opened
from sdxl.manifest import ImagesIdentity, ImagesManifest, Made
from sdxl.parallel import Group
from tests.sdxl.conftest import about
from tests.sdxl.launch import in_two, refusal


class Colours(nn.Module):
    """Four numbers of an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float() / 255
        return torch.cat([x.mean((2, 3)), x.square().mean((1, 2, 3))[:, None]], 1)


def colours() -> nn.Module:
    return Colours()


def not_finite() -> nn.Module:
    return nn.Sequential(Colours(), nn.Threshold(0.0, 0.0), _Log())


class _Log(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - 1e9).log()


EYE = f"module:{__name__}:colours"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path, count: int, *, name: str = "images", size: int = 8, top: int = 256) -> Path:
    (folder / "images").mkdir(parents=True)
    draw = generator(0, f"{name} of fid")
    for i in range(count):
        pixels = torch.randint(0, top, (size, size, 3), dtype=torch.uint8, generator=draw)
        Image.fromarray(pixels.numpy()).save(folder / f"images/{i:06d}.png")
    return folder


def with_manifest(folder: Path, t_n: float | None = None, weight: float = 0.0, stop: int | None = None) -> Path:
    """As `generate` leaves it."""
    files = sorted(path.relative_to(folder).as_posix() for path in (folder / "images").iterdir())
    said = None if t_n is None else about("tests", t_n=float(t_n), weight=weight)
    images, identity = (
        tuple(Made(file, i, None) for i, file in enumerate(files)),
        ImagesIdentity(resolution=8, lora=None, rest={}),
    )
    records.write(folder / "manifest.json", ImagesManifest({"stop": stop}, identity, images, said))
    (folder / "sheet.png").write_bytes(b"none of the images")
    return folder


def fid(generated: list[Path], reference: Path, out: Path, *more: object) -> list[str]:
    found = ["evaluate", "fid", "--generated", *generated, "--reference", reference, "--extractor", EYE, "--out", out, *more]
    return [str(word) for word in found]


# the statistics


def exactly(mean: torch.Tensor, covariance: torch.Tensor, count: int = 600) -> torch.Tensor:
    """Rows whose mean and covariance (of count - 1) are the given ones, not those of a sample."""
    rows = torch.randn(count, len(mean), dtype=torch.float64, generator=generator(0, f"{float(mean[0])}"))
    rows = rows - rows.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(rows.T)), rows.T, upper=False).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_the_frechet_distance_of_known_moments():
    """Covariances that share their axes: |m - n|^2 + sum (sqrt(a) - sqrt(b))^2."""
    axes = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=generator(0, "axes"))).Q
    a, b = torch.linspace(0.01, 4, 12, dtype=torch.float64), torch.linspace(3, 0.2, 12, dtype=torch.float64)
    m, n = torch.ones(12, dtype=torch.float64), torch.linspace(-1, 1, 12, dtype=torch.float64)
    x, y = exactly(m, axes * a @ axes.T), exactly(n, axes * b @ axes.T)
    expected = float((m - n).square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert frechet(x, y) == pytest.approx(expected, rel=1e-4)
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("count", [300, 40])
def test_the_frechet_distance_is_that_of_scipy(count):
    """Also where covariances are nearly singular: 40 rows of 32 features."""
    draw = generator(1, "features")
    mix = torch.randn(2, 32, 32, generator=draw)
    x, y = (torch.randn(count, 32, generator=draw) @ mix[i] + i for i in range(2))
    c, d = (np.cov(rows.double().numpy().T) for rows in (x, y))
    root = scipy.linalg.sqrtm(c @ d)
    gap = x.double().mean(0) - y.double().mean(0)
    expected = float(gap.square().sum()) + np.trace(c) + np.trace(d) - 2 * np.trace(root).real
    assert frechet(x, y) == pytest.approx(expected, rel=1e-4)


def test_kid_is_the_unbiased_estimate_and_follows_from_the_seed():
    draw = generator(2, "features")
    x, y = torch.randn(30, 5, generator=draw).double(), torch.randn(30, 5, generator=draw).double() + 0.5

    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / 5 + 1) ** 3

    off = ~torch.eye(30, dtype=torch.bool)
    expected = float(k(x, x)[off].mean() + k(y, y)[off].mean() - 2 * k(x, y).mean())
    whole = distances.kid(x, y, subsets=100, size=1000, seed=0)
    assert whole == (pytest.approx(expected), 0, 1, 30)
    some = distances.kid(x, y, subsets=50, size=10, seed=0)
    torch.manual_seed(3)
    assert distances.kid(x, y, subsets=50, size=10, seed=0) == some
    assert distances.kid(x, y, subsets=50, size=10, seed=1) != some
    assert some.mean == pytest.approx(expected, abs=4 * some.std / 50**0.5)
    with pytest.raises(UserError, match="at least 2"):
        distances.kid(x[:1], y, subsets=5, size=10, seed=0)


def test_kid_of_few_images_has_no_bias_where_frechets_distance_has():
    """Two sets of one distribution: KID is 0 within its error at 10 images, the Frechet distance far from it."""
    kids, frechets = [], []
    for i in range(40):
        draw = generator(i, "pairs")
        x, y = torch.randn(10, 6, generator=draw), torch.randn(10, 6, generator=draw)
        kids.append(distances.kid(x, y, subsets=1, size=10, seed=0).mean)
        frechets.append(frechet(x, y))
    error = np.std(kids) / len(kids) ** 0.5
    assert abs(np.mean(kids)) < 4.5 * error
    assert np.mean(frechets) > 20 * np.std(frechets) / len(frechets) ** 0.5


def test_the_floor_is_what_two_sets_of_one_distribution_have():
    """Over many references its mean is the mean distance of independent sets of those numbers; it grows as they shrink."""
    floors, apart = [], []
    for i in range(30):
        draw = generator(i, "floors")
        x, y = torch.randn(60, 6, generator=draw), torch.randn(20, 6, generator=draw)
        found = distances.floor(x, 20, subsets=1, size=1000, seed=i)
        assert (found.images, found.others) == (20, 40)
        floors.append(found.frechet)
        apart.append(frechet(x[:40], y))
    error = (np.var(floors) + np.var(apart)) ** 0.5 / 30**0.5
    assert abs(np.mean(floors) - np.mean(apart)) < 4.5 * error
    assert np.mean(floors) > 10 * error
    assert distances.floor(x, 5, subsets=1, size=1000, seed=0).frechet > 2 * np.mean(floors)
    halves = distances.floor(x, 50, subsets=1, size=1000, seed=0)
    assert (halves.images, halves.others) == (30, 30)
    smallest = distances.floor(x[:4], 5, subsets=1, size=1000, seed=0)
    assert (smallest.images, smallest.others) == (2, 2)
    assert distances.floor(x[:3], 5, subsets=1, size=1000, seed=0) is None


# features, kept


def test_features_are_those_of_each_image_and_are_kept(tmp_path, own_cache):
    images, eye = opened(str(write(tmp_path / "a", 5)), Group()), extract.find(EYE)
    found = features(images, eye, Group(), batch=2)
    expected = torch.cat([eye(images[i][None]) for i in range(5)])
    torch.testing.assert_close(found, expected)
    with Image.open(tmp_path / "a/images/000003.png") as opened_:
        torch.testing.assert_close(found[3, :3], torch.from_numpy(np.asarray(opened_) / 255).mean((0, 1)).float())

    class Blind:
        name, fingerprint = eye.name, eye.fingerprint

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the features are known")

    copied = shutil.copytree(tmp_path / "a", tmp_path / "b")  # the same images elsewhere
    assert torch.equal(features(opened(str(copied), Group()), Blind(), Group()), found)
    assert len(list((own_cache / "features").iterdir())) == 1
    (tmp_path / "b/images/000004.png").write_bytes((tmp_path / "b/images/000003.png").read_bytes())
    with pytest.raises(AssertionError, match="known"):  # other images
        features(opened(str(copied), Group()), Blind(), Group())


def test_a_damaged_file_is_made_anew_and_one_of_another_extractor_refused(tmp_path, own_cache):
    images, eye = opened(str(write(tmp_path / "a", 3)), Group()), extract.find(EYE)
    found = features(images, eye, Group())
    file = next(own_cache.rglob("*.safetensors"))
    payload = file.read_bytes()
    file.write_bytes(payload[:-3])
    assert torch.equal(features(images, eye, Group()), found)
    assert file.read_bytes() == payload
    save_file(load_file(file), file, metadata={"about": json.dumps({"images": images.fingerprint, "extractor": "x", "shard": 0})})
    with pytest.raises(UserError, match="of another extractor"):
        features(images, eye, Group())
    assert file.exists()


def test_features_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("sdxl.evaluate.features.features.SHARD", 2)
    images, eye = opened(str(write(tmp_path / "a", 5)), Group()), extract.find(EYE)
    seen = []
    counted = extract.Extractor(eye.name, "the same", lambda x: (seen.append(len(x)), Colours()(x))[1], "cpu")
    with pytest.raises(Interrupted, match="2 of 5"):
        features(images, counted, Group(), stopping=lambda: True)
    found = features(images, counted, Group())
    assert sum(seen) == 5
    assert torch.equal(found, Colours()(torch.stack([images[i] for i in range(5)])))
    assert SHARD > 2


# the command


def test_distances_against_the_level_of_nature(tmp_path):
    reference = write(tmp_path / "reference", 20, name="reference")
    sets = []
    for i, (t_n, weight) in enumerate(((100, 0.0), (100, 0.01), (800, 0.0), (800, 0.01))):
        folder = write(tmp_path / f"{t_n}_{weight:g}" / "images_made", 12, name=f"set {i}", top=256 - 8 * i)
        sets.append(with_manifest(folder, t_n, weight))
    plain = with_manifest(write(tmp_path / "plain", 12, name="plain"))
    main(fid([*sets, plain], reference, tmp_path / "out"))
    results = json.loads((tmp_path / "out/results.json").read_text())
    rows = results["rows"]
    assert [(row["t_n"], row["weight"]) for row in rows] == [(100, 0.0), (100, 0.01), (800, 0.0), (800, 0.01), (None, None)]
    assert len({row["name"] for row in rows}) == 5
    real, fake = (torch.stack([opened(str(f), Group())[i] for i in range(n)]) for f, n in ((reference, 20), (sets[2], 12)))
    assert rows[2]["frechet"] == pytest.approx(frechet(Colours()(real), Colours()(fake)), rel=1e-4)
    table = (tmp_path / "out/table.md").read_text()
    assert table.count("| without |") == table.count("| with |") == 2
    assert "equal counts" in table
    assert (tmp_path / "out/distances.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="another config"):
        main(fid([*sets], reference, tmp_path / "out"))


def test_early_stops_have_a_curve_of_their_own(tmp_path):
    reference, kinds = write(tmp_path / "reference", 20, name="reference"), ((0.0, None), (0.0, 100), (0.01, None))
    sets = [
        with_manifest(write(tmp_path / f"{i}", 12, name=f"set {i}"), 100, weight, stop) for i, (weight, stop) in enumerate(kinds)
    ]
    main(fid(sets, reference, tmp_path / "out"))
    table = (tmp_path / "out/table.md").read_text()
    assert [table.count(f"| {kind} |") for kind in ("without", "early stop, without", "with")] == [1, 1, 1]
    axes = curves(EYE, records.read(tmp_path / "out/results.json", Distances)).axes[0]
    points = {line.get_label(): len(line.get_xdata()) for line in axes.lines if "consistency" in str(line.get_label())}
    assert points == {"without consistency": 1, "with consistency": 1, "early stop, without consistency": 1}


def test_two_processes_leave_the_same_files(tmp_path, own_cache):
    reference, made = write(tmp_path / "reference", 270, name="reference"), write(tmp_path / "made", 259)
    main(fid([made], reference, tmp_path / "one"))
    first = {file.name + file.parent.name: file.read_bytes() for file in own_cache.rglob("*.safetensors")}
    shutil.rmtree(own_cache)
    answer = in_two(tmp_path, *fid([made], reference, tmp_path / "two"))
    assert answer.code == 0, answer.error
    for name in ("results.json", "table.md", "table.csv", "distances.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert {file.name + file.parent.name: file.read_bytes() for file in own_cache.rglob("*.safetensors")} == first
    assert len(first) == 4  # two shards each


def test_the_numbers_follow_from_what_results_say_was_asked(tmp_path, own_cache):
    reference, made = write(tmp_path / "reference", 20, name="reference"), write(tmp_path / "made", 8)
    main(fid([made], reference, tmp_path / "one", "--seed", 3, "--kid-size", 4, "--kid-subsets", 5))
    first = (tmp_path / "one/results.json").read_bytes()
    shutil.rmtree(own_cache)
    asked = to_argv(DistanceOptions, json.loads(first)["config"])
    main(["evaluate", "fid", *asked, "--out", str(tmp_path / "again")])
    assert (tmp_path / "again/results.json").read_bytes() == first
    main(["evaluate", "fid", *asked, "--out", str(tmp_path / "other"), "--seed", "4"])
    other, first = json.loads((tmp_path / "other/results.json").read_text()), json.loads(first)
    assert other["rows"][0]["kid"] != first["rows"][0]["kid"]
    assert other["rows"][0]["frechet"] == first["rows"][0]["frechet"]
    assert "| floor: 8 of the reference to the other 12 |" in (tmp_path / "one/table.md").read_text()


def test_few_images(tmp_path):
    reference, made = write(tmp_path / "reference", 20, name="reference"), write(tmp_path / "made", 4)
    assert "needs at least 5 images a set, and" in refusal(*fid([made], reference, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    main(fid([made], reference, tmp_path / "out", "--anyway"))
    table = (tmp_path / "out/table.md").read_text()
    assert " * |" in table
    assert "means little" in table
    one = write(tmp_path / "one", 1)
    assert "has one image" in refusal(*fid([one], reference, tmp_path / "alone", "--anyway"))


def test_mistakes_are_told_in_a_line(tmp_path):
    reference, made = write(tmp_path / "reference", 8, name="reference"), with_manifest(write(tmp_path / "made", 8))
    out = tmp_path / "out"
    assert "--generated is missing" in refusal("evaluate", "fid", "--reference", reference)
    assert "--reference is missing" in refusal("evaluate", "fid", "--generated", made)
    larger = write(tmp_path / "larger", 8, size=16)
    assert "16x16 pixels and" in refusal(*fid([larger], reference, out))
    shutil.copy(larger / "images/000000.png", shutil.copytree(reference, tmp_path / "mixed") / "images/more.png")
    assert "images of 2 sizes" in refusal(*fid([made], tmp_path / "mixed", out))
    assert "smaller than --resolution 16" in refusal(*fid([made], tmp_path / "mixed", out, "--resolution", 16))
    dark = write(tmp_path / "dark", 8, top=2)
    assert "that compares it with itself" in refusal(*fid([reference], reference, tmp_path / "itself"))
    assert "range must be 0 .. 255" in refusal(*fid([dark], reference, tmp_path / "out of range"))
    assert "is no folder" in refusal(*fid([made], tmp_path / "none", out))
    assert "not finite" in refusal(*fid([made], reference, out, "--extractor", f"module:{__name__}:not_finite"))
    (made / "images/000003.png").rename(made / "images/000009.png")
    assert "1 of its images are missing (images/000003.png)" in refusal(*fid([made], reference, out))
    (made / "images/000009.png").rename(made / "images/000003.png")
    shutil.copy(larger / "images/000000.png", made / "images/000008.png")
    assert "images/000008.png is not in it" in refusal(*fid([made], reference, out))
    (made / "images/000008.png").unlink()
    (made / "images/000002.png").write_bytes(b"no image")
    assert "cannot be read" in refusal(*fid([made], reference, out))
    (made / "manifest.json").unlink()
    (made / "config.yaml").write_text("")
    assert "is not finished" in refusal(*fid([made], reference, out))


def test_another_resolution_for_both(tmp_path, capsys):
    reference, made = write(tmp_path / "reference", 8, name="reference", size=16), write(tmp_path / "made", 8)
    main(fid([made], reference, tmp_path / "out", "--resolution", 8, "--dry-run"))
    assert "features: 4" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    main(fid([made], reference, tmp_path / "out", "--resolution", 8))
    assert (tmp_path / "out/DONE").exists()
