"""What is published: a wheel and an sdist, built from a copy of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from harness import records
from sdxl.mini import shipped

ROOT = Path(__file__).resolve().parents[1]
BUILD = """import sys; from setuptools import build_meta
out = sys.argv[1]  # the builds change sys.argv
build_meta.build_wheel(out); build_meta.build_sdist(out)"""


def run(folder: Path, *words: str, **environment: str) -> str:
    options = {"cwd": folder, "env": os.environ | environment, "capture_output": True, "text": True, "timeout": 200}
    done = subprocess.run([sys.executable, *words], check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("ambient", "harness", "toy", "sdxl"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    run(source, "-c", BUILD, str(out))
    return out


def test_both_hold_the_weights_the_templates_and_the_configs(built):
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    card = records.read(shipped.SHIPPED / shipped.CARD, shipped.Card)
    needed = {f"sdxl/mini/weights/{name}" for name in (*card.files, shipped.CARD, shipped.TEXT)}
    for package in ("harness", "toy", "sdxl"):
        for folder in ("templates", "configs"):
            needed |= {file.relative_to(ROOT).as_posix() for file in (ROOT / package / folder).glob("*")}
    with zipfile.ZipFile(wheel) as opened:
        assert needed <= set(opened.namelist())
    with tarfile.open(sdist) as opened:
        assert needed <= {name.partition("/")[2] for name in opened.getnames()}


def test_an_installed_wheel_generates(built, tmp_path):
    """The wheel alone is on the path, beside the libraries."""
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "site")
    here = {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    assert run(tmp_path, "-c", "import sdxl; print(sdxl.__file__)", **here).startswith(str(tmp_path / "site"))
    run(tmp_path, "-m", "sdxl", "mini", "mini", **here)
    prompt = ["--prompt", "a red letter k on a pale blue ground", "--images", "1", "--steps", "2"]
    run(tmp_path, "-m", "sdxl", "generate", "--base", "mini", *prompt, "--out", "images", **here)
    assert (tmp_path / "images/images/000000.png").stat().st_size > 500
