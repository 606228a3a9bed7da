"""Every field of every file that one SDXL command writes and another reads, damaged: one line that names it, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sdxl.attack.mask import MaskAttackPlan
from sdxl.corrupt.noisy_set import NoisySet
from sdxl.evaluate.distances import table as distances_table
from sdxl.evaluate.features import features
from sdxl.evaluate.memorization import table as shown
from sdxl.evaluate.memorization.figure import panel
from sdxl.evaluate.memorization.measure import kinds_of
from sdxl.evaluate.restoration import measure as restorer
from sdxl.evaluate.restoration.table import table_1
from sdxl.figures import evaluations, page
from sdxl.figures.runs import FID, MEMORY, RESTORATION, RunDirectory, Runs, read_directory
from sdxl.images.folder import Images
from sdxl.manifest import images_manifest
from sdxl.model import lora, sampling
from sdxl.model.base import Base, shapes
from tests import damage

THEIRS = "is for diffusers, transformers and peft to read"
SOME = "an option of another value of its type, as the command would take it"
OPTION = {"config": SOME, "config.*": SOME}  # options have defaults, and many may be empty


def shown_by_figures(folder: Path) -> None:
    """What `figures` makes of a directory, but for the drawing."""
    found = read_directory(folder, folder.name)
    runs = Runs([found])
    page.description(runs, found)
    runs.command(found)
    if found.kind in WORDS:
        WORDS[found.kind](found, runs)


def of_memory(found: RunDirectory, runs: Runs) -> None:
    runs.behind(found)
    shown.table(found.about)
    shown.warning(found.about)
    keys = [(row.model, row.kind) for row in found.about.models]
    evaluations.shares(found, keys)
    panel(found.similarities(), {key: "" for key in keys}, ())
    evaluations.differences(found.about.differences)


WORDS = {
    RESTORATION: lambda found, runs: table_1(found.about),
    FID: lambda found, runs: distances_table.rows(found.about),
    MEMORY: of_memory,
}


def header(file: Path, name: str):
    """To read and to write the JSON that a safetensors file has under a name in its header."""
    with safe_open(file, "pt") as opened:
        about, tensors = opened.metadata(), load_file(file)

    def store(content):
        save_file(tensors, file, metadata=about | {name: json.dumps(content)})

    return {"load": lambda: json.loads(about[name]), "store": store}


def check(file: Path, consume, known: dict[str, str], **how) -> None:
    whole = how["load"]() if "load" in how else json.loads(file.read_text())
    report = damage.examine(file, consume, **how)
    assert damage.of_another_kind(report, whole, known) == set()


IDENTITY = {"identity": "compared as a whole, never read", "identity.*": "compared as a whole, never read"}
NO_LORA = {"identity.lora": "of the base alone", "lora": "of the base alone, or of a LoRA that says nothing of itself"}


FIRST = dict.fromkeys(("version", "format", "lora.version"), "none is the first")
OLDER = dict.fromkeys(("lora.weights", "lora.prediction", "lora.schedule"), "of an older LoRA")
NOTES = dict.fromkeys(("regions", "regions.*", "vae_name", "left_out", "source"), "for the reader")
IN_A_MANIFEST = OPTION | IDENTITY | NO_LORA | FIRST | OLDER | NOTES | {"images.*.prompt": "an image without a caption"}


@pytest.mark.parametrize("name", ["samples_base", "samples_consistent", "posterior", "attack_plain", "masked", "noisy"])
def test_manifests(runs, name):
    check(runs / name / "manifest.json", lambda: shown_by_figures(runs / name), IN_A_MANIFEST)


@pytest.mark.parametrize("name", ["attack_plain", "masked", "posterior"])
def test_manifests_as_evaluations_read_them(runs, name):
    def read():
        kinds_of(Images(str(runs / name), [], (0, 0), None, images_manifest(runs / name)))

    check(runs / name / "manifest.json", read, IN_A_MANIFEST)


@pytest.mark.parametrize("name", ["restoration", "fid", "memory", "memory_masked"])
def test_results(runs, name):
    known = {"version": "none is the first"} | OPTION | IDENTITY
    known |= {"rows*": "follow from the errors", "pairs*": "follow from the errors", "errors.pixel*": "not decoded"} if (
        name == "restoration"
    ) else {}  # fmt: skip
    known |= {"vae_alone*": "for the reader", "models.*.t_n": "of no LoRA of ours", "models.*.weight": "of no LoRA of ours"}
    known |= {"rows.*.t_n": "of no LoRA of ours", "rows.*.weight": "of no LoRA of ours", "floors": "too few images for one"}
    known |= {"differences": "of one model alone", "baselines*": "without --held-out", "models.*.control": "without --control"}
    beyond = [f"models.*.beyond {of}{part}" for of in ("held out", "control") for part in ("", ".memorised")]
    known |= dict.fromkeys(beyond, "nothing can be told")
    known |= {"rows": "no set"} if name == "fid" else {}
    check(runs / name / "results.json", lambda: shown_by_figures(runs / name), known, named=("similarities.csv",))


def test_lines_of_similarities(runs):
    file = runs / "memory/similarities.csv"
    whole = file.read_text()
    head, *lines = whole.splitlines()
    renamed = "\n".join([head.replace("kind", "sort"), *lines])
    try:
        for text in ("", head, whole[: len(whole) // 2], renamed, whole.replace("0.", "zero")):
            file.write_text(text)
            assert not damage.said(lambda: shown_by_figures(runs / "memory"), ("similarities.csv",), text[:80])
    finally:
        file.write_text(whole)


def test_a_training(runs):
    """Its config, and what its LoRA says of itself, to `figures` and to who loads it."""
    folder, base = runs / "plain", Base(runs / "mini")
    file = folder / lora.FILE
    asked = folder / "config.yaml"
    known = {key: SOME for key in yaml.safe_load(asked.read_text())}
    check(asked, lambda: shown_by_figures(folder), known, load=lambda: yaml.safe_load(asked.read_text()),
          store=lambda content: (asked.write_text(yaml.safe_dump(content)), None)[1], cuts=(0, 0.1, 0.5))  # fmt: skip
    known = dict.fromkeys(("version", "weights", "prediction", "schedule"), "an older LoRA")
    check(file, lambda: shown_by_figures(folder), known, **header(file, lora.OURS))
    some = {"ways": ("gone", "a list"), "cuts": (0, 0.5)}
    check(file, lambda: lora.opened(str(file), base), {"*": THEIRS}, **header(file, lora.THEIRS), **some)


def test_headers_of_shards(runs):
    file = runs / "noisy/shard_00000.safetensors"

    def read():
        data = NoisySet(runs / "noisy")
        return data.labels

    check(file, read, {}, **header(file, "about"))
    kept = load_file(file)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    try:
        for name in kept:
            for tensors in ({k: v for k, v in kept.items() if k != name}, kept | {"t_n": kept["t_n"][:1]}):
                save_file(tensors, file, metadata=about)
                assert not damage.said(read, (file.name,), name)
    finally:
        save_file(kept, file, metadata=about)


def test_what_can_be_made_again_is_made_again(runs):
    """Features, errors of single images, boxes: what is damaged is None, and never taken for what it was."""
    remembered = [*sorted((runs / "cache/features").rglob("*.safetensors"))[:1]]
    for file in remembered:
        with safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["about"])
        said = features.Header(about["images"], about["extractor"], 0)
        count = len(load_file(file)["features"])

        def read(file=file, said=said, count=count):
            return features._read(file.parent, 0, lambda number: said, count)

        _made_again(file, read, **header(file, "about"))
    config, levels = SimpleNamespace(pixels=True), [900.0]
    for number in (0, 1):
        file = runs / f"restoration/errors/{number}_000000.json"
        plan = SimpleNamespace(config=config, levels=levels, file=lambda model, image, file=file: file)
        _made_again(file, lambda plan=plan, number=number: restorer.RestorationPlan.errors(plan, number, 0))
    file = runs / "masked/regions.json"
    found = json.loads(file.read_text())
    pictures = [SimpleNamespace(key=key) for key in found["boxes"]]
    plan = SimpleNamespace(boxes_file=lambda: file, origin_of_boxes=lambda: tuple(found["of"]), pictures=pictures)
    _made_again(file, lambda: MaskAttackPlan.read_boxes(plan))


def _made_again(file: Path, read, **how) -> None:
    """The file read as it is; damaged, it is None, refused, or has another number of the same type."""
    whole = how["load"]() if "load" in how else json.loads(file.read_text())
    right = read()
    assert right is not None

    def consume():
        if read() is None:
            raise damage.UserError(f"{file.name} is made again")

    report = damage.examine(file, consume, **how)
    assert damage.of_another_kind(report, whole, {"version": "none is the first", "boxes.*": "nothing was found there"}) == set()


READ = {
    "model_index.json": lambda base: base.zeros_for_no_caption(),
    "scheduler/scheduler_config.json": lambda base: (base.path(), base.prediction(), sampling.grid(base.schedule(), 3)),
    "vae/config.json": lambda base: (shapes(base, base, 64), base.fingerprint("vae")),
    "unet/config.json": lambda base: (base.resolution(8), base.settings("unet")),
    "text_encoder/config.json": lambda base: shapes(base, base, 64),
}


@pytest.mark.parametrize("name", READ)
def test_settings_of_models(runs, name):
    base = Base(runs / "mini")
    check(base.folder / name, lambda: READ[name](base), {"*": THEIRS})


def test_the_walk_is_long(runs):
    """How many inputs the files of one rehearsal give, lists of equal entries counted once."""
    files = [*runs.glob("*/manifest.json"), *runs.glob("*/results.json"), *runs.glob("tiny/*/*config.json")]
    counts = {file: len(list(damage.damages(json.loads(file.read_text())))) for file in files}
    assert sum(counts.values()) > 5000
    assert min(counts.values()) > 40
