"""The mini model: its pictures, its training, and the model that the package ships."""

from __future__ import annotations

import colorsys
import json
import shutil
from contextlib import closing, nullcontext
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import records
from harness.errors import Interrupted, UserError
from harness.files import digest
from harness.runs import Run
from sdxl.__main__ import main
from sdxl.images.sheets import from_bytes
from sdxl.mini import colours, digits, features, glyphs, models, shipped, training
from sdxl.mini.classifier import labels_of
from sdxl.mini.measure import measure_model
from sdxl.mini.options import NOT_IDENTITY, PretrainOptions
from sdxl.mini.pretrain import pretrain
from sdxl.mini.training import learning_rate
from sdxl.model.base import Base
from sdxl.model.text import TextEncoder
from tests.sdxl.launch import refusal

LARGEST = 12_000_000  # bytes of all files that the package ships


def hue_of(rgb: np.ndarray) -> float:
    return colorsys.rgb_to_hsv(*rgb)[0]


def distance_on_circle(one: float, other: float) -> float:
    return abs((one - other + 0.5) % 1 - 0.5)


def test_a_picture_follows_from_its_seed_and_number_alone():
    one, words = glyphs.glyph(7)
    again, same = glyphs.glyph(7)
    assert (one == again).all()
    assert words == same == glyphs.described(7)
    assert not (one == glyphs.glyph(8)[0]).all()
    assert not (one == glyphs.glyph(7, seed=1)[0]).all()


@pytest.mark.parametrize("number", range(40))
def test_a_picture_shows_what_its_caption_says(number):
    """Its corners have the lightness and the hue of the ground; the pixel farthest from them has the hue of the ink."""
    drawn, picture = glyphs.glyph(number)
    pixels = drawn / 255
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    ground = np.median(corners, 0)
    assert (ground.max() > 0.5) == picture.ground.startswith("pale")
    named = picture.ground.partition(" ")[2]
    if named:
        assert distance_on_circle(hue_of(ground), colours.HUES[named]) < 0.06
    else:
        assert np.ptp(ground) < 0.02
    ink = pixels.reshape(-1, 3)[np.abs(pixels - ground).sum(-1).argmax()]
    if picture.colour in colours.HUES:
        assert distance_on_circle(hue_of(ink), colours.HUES[picture.colour]) < 0.06
    else:
        assert (ink.mean() > 0.5) == (picture.colour == "white")
    assert f" {glyphs.LETTERS[picture.letter]} on a {picture.ground} ground" in picture.caption


def test_larger_words_are_larger_letters():
    area = {size: [] for size in glyphs.SIZES}
    for number in range(400):
        drawn, picture = glyphs.glyph(number)
        size = next((word for word in ("small", "large") if f" {word} " in picture.caption), "")
        ground = np.median(drawn[0].astype(float), 0)
        area[size].append((np.abs(drawn - ground).sum(-1) > 150).mean())
    means = [float(np.mean(area[size])) for size in ("small", "", "large")]
    assert all(2 * above > 3 * below for below, above in pairwise(means))


def test_there_are_no_digits_and_each_caption_is_read_whole():
    tokenizer = models.tokenizer()
    unknown = tokenizer.unk_token_id
    for number in range(300):
        caption = glyphs.described(number).caption
        assert not any(letter.isdigit() for letter in caption)
        tokens = tokenizer(caption).input_ids
        assert unknown not in tokens[:-1]  # the end of a text has the same token
        assert len(tokens) <= models.LENGTH
        assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == caption.lower()
    for text in ("Photo of 7 cats, (c) 1999!", "an orange handwritten digit 3 on a dark ground"):
        assert unknown not in tokenizer(text).input_ids[:-1]


def test_words_have_the_same_numbers_in_each_tokenizer():
    one, again = (models.tokenizer().backend_tokenizer.to_str() for _ in range(2))
    assert one == again


def test_digits_for_training_are_others_than_those_held_out(tmp_path):
    sets = digits.handwritten(None)
    train, held_out = ({image.tobytes() for image in sets[name][0]} for name in ("train", "held_out"))
    assert (len(sets["train"][0]), len(sets["held_out"][0])) == (4000, 1000)
    assert train.isdisjoint(held_out)
    some = digits.first(sets, {"train": 5, "held_out": 3})
    digits.write(tmp_path, some)
    rows = [json.loads(line) for line in (tmp_path / "held_out/metadata.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == [picture.caption for picture in digits.pictures(some, "held_out")]
    assert all(f"digit {digit} " in row["text"] for row, digit in zip(rows, some["held_out"][1], strict=True))
    before = (tmp_path / "train/train_00000.png").stat().st_mtime_ns
    digits.write(tmp_path, some)
    assert (tmp_path / "train/train_00000.png").stat().st_mtime_ns == before


def test_a_file_that_holds_no_digits_is_refused(tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, x=np.zeros(3))
    assert "expected x_train" in refusal("reproduce", "--digits", file, "--out", tmp_path / "out")
    images, labels = np.zeros((9, 14, 14), np.uint8), np.zeros(9, np.int64)
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert "(9, 14, 14)" in refusal("reproduce", "--digits", file, "--out", tmp_path / "out")
    images = np.zeros((9, 28, 28), np.uint8)
    np.savez(file, x_train=images, y_train=labels + 57, x_test=images, y_test=labels)
    assert "found labels from 57 to 57" in refusal("reproduce", "--digits", file, "--out", tmp_path / "out")
    file.write_bytes(b"nothing")
    assert "mine.npz is damaged" in refusal("reproduce", "--digits", file, "--out", tmp_path / "out")
    file.unlink()
    assert f"cannot read {file}: No such file" in refusal("reproduce", "--digits", file, "--out", tmp_path / "out")
    assert "there are 4,000" in refusal("reproduce", "--training-digits", 5000, "--out", tmp_path / "out")


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    rates = [learning_rate(step, steps=10_000, peak=2.0) for step in range(10_000)]
    assert rates[0] == 2.0 / 200
    assert set(rates[200:8000]) == {2.0}
    assert all(above > below for above, below in pairwise(rates[8000:]))
    assert 0 < rates[-1] < 0.002


SMALL = {"pictures": 40, "held_out": 6, "vae_steps": 2, "vae_batch": 4, "unet_steps": 3, "unet_batch": 4}
SMALL |= {"classifier_steps": 2, "classifier_batch": 4, "save_every": 2, "log_every": 2}


def trained(out: Path, *, stop_at: tuple[int, ...] = ()) -> dict[str, str]:
    """The digests of a model that is trained in as many sittings as `stop_at` asks for, each of so many steps, and a last one."""
    config = PretrainOptions(out=str(out), **SMALL)
    for steps in (*stop_at, 0):
        asked = count(1)
        with closing(Run(out, config.without(*NOT_IDENTITY))) as run, pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "stop_requests", lambda asked=asked, steps=steps: nullcontext(lambda: next(asked) == steps))
            try:
                pretrain(config, run)
            except Interrupted:
                assert not run.done
    return records.read(out / "model" / shipped.CARD, shipped.Card).files


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run directory of `python -m sdxl pretrain`, too short to learn anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXACT_AMBIENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("pretrained")
        trained(out)
        yield out


def test_training_stopped_in_each_stage_ends_with_the_same_bits(pretrained, tmp_path):
    files = trained(tmp_path, stop_at=(1, 2, 2, 1))
    assert files == records.read(pretrained / "model" / shipped.CARD, shipped.Card).files
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert rows == (pretrained / "metrics.jsonl").read_text().splitlines()


def test_all_parts_are_trained_and_each_channel_of_the_latents_has_mean_0_and_variance_1(pretrained):
    base = Base(pretrained / "model")
    fresh = models.pipeline(0)
    for part, own in (("unet", base.unet()), ("vae", base.vae())):
        before = dict(getattr(fresh, part).named_parameters())
        assert all(
            not torch.equal(value, before[name].half().float()) for name, value in own.named_parameters() if value.ndim > 1
        )
    for number, name in enumerate(("text_encoder", "text_encoder_2")):
        own, before = base.encoders()[1][number], getattr(fresh, name)
        first = before.get_input_embeddings().weight.half().float()
        assert not torch.equal(own.get_input_embeddings().weight, first)
    latents = models.encoded(base.vae(), models.pixels(range(SMALL["pictures"]), seed=0))
    assert latents.mean((0, 2, 3)).abs().max() < 0.02  # weights of 16 bits
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.02


def test_a_damaged_or_missing_file_of_the_package_is_named(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", Path(shutil.copytree(pretrained / "model", tmp_path / "package")))
    main(["mini", str(tmp_path / "whole")])
    assert digest((tmp_path / "whole/unet/config.json").read_bytes()) == digest(
        (pretrained / "model/unet/config.json").read_bytes()
    )
    assert "not an empty folder" in refusal("mini", tmp_path / "whole")
    (tmp_path / "file").touch()
    assert f"cannot write {tmp_path}/file/below: Not a directory;" in refusal("mini", tmp_path / "file/below")
    file = tmp_path / "package/vae/diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert f"{file} is missing or damaged; install" in refusal("mini", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (tmp_path / "package" / shipped.CLASSIFIER).unlink()
    with pytest.raises(UserError, match=r"classifier\.safetensors is missing or damaged"):
        features.letters()


def test_the_shipped_files_are_those_of_the_card_and_small():
    card = records.read(shipped.SHIPPED / shipped.CARD, shipped.Card)
    files = [file for file in shipped.SHIPPED.rglob("*") if file.is_file()]
    assert {file.relative_to(shipped.SHIPPED).as_posix() for file in files} == {*card.files, shipped.CARD, shipped.TEXT}
    assert sum(file.stat().st_size for file in files) <= LARGEST
    for name in card.files:
        shipped.checked(name)


def test_the_shipped_vae_reconstructs_pictures_and_digits():
    vae = Base(shipped.SHIPPED).vae()
    unseen = np.stack([glyphs.glyph(10**6 + number)[0] for number in range(64)])
    some = digits.pictures(digits.first(digits.handwritten(None), {"train": 1, "held_out": 64}), "held_out")
    for pictures in (unseen, np.stack([digit.pixels for digit in some])):
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        error = (models.decoded(vae, models.encoded(vae, pixels)) - from_bytes(pixels)).square().mean((1, 2, 3))
        assert (10 * (4 / error).log10()).mean() > 28


def test_the_shipped_classifier_reads_pictures_it_has_not_seen():
    drawn, unseen = zip(*(glyphs.glyph(10**6 + number) for number in range(128)), strict=True)
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)
    network = features.letters()
    correct = network.classifier.correct(from_bytes(pixels), labels_of(unseen))
    assert all(share.float().mean() > 0.9 for share in correct.values())
    found = network(pixels)
    assert found.mean(0).abs().max() < 0.5
    assert ((found.std(0) - 1).abs() < 0.4).all()
    assert network(torch.nn.functional.interpolate(pixels.float(), scale_factor=2).to(torch.uint8)).shape == found.shape


def test_samples_of_the_shipped_model_show_what_their_prompts_name(tmp_path):
    """As `pretrain` measures it, on fewer prompts."""
    config = PretrainOptions(pictures=10**6, held_out=32)
    measured = measure_model(Base(shipped.SHIPPED), features.letters().classifier, config, tmp_path / "samples")
    assert measured.samples["all"].mean > 70
    assert min(measured.samples["colour"].mean, measured.samples["ground"].mean) > 85


def test_the_base_reads_captions_of_its_own_length():
    encoder = TextEncoder(Base(shipped.SHIPPED), torch.device("cpu"))
    condition = encoder("a red letter k on a pale ground")
    [warning] = encoder.warnings(["a red spaceship, 7 cats", "a red \u6f22\u5b57 on a rocket \U0001f680"])
    assert "2 words" in warning
    assert "\u6f22\u5b57" in warning
    assert condition["prompt_embeds"].shape == (1, models.LENGTH, 128)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of the scheduler in diffusers
def test_a_stock_pipeline_paints_what_its_prompts_name():
    """No code of this project between the folder and the pictures."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(shipped.SHIPPED, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    asked = [glyphs.described(10**6 + number) for number in range(32)]
    prompts = [each.caption for each in asked]
    settings = {"guidance_scale": 3.0, "num_inference_steps": 25, "generator": torch.Generator().manual_seed(0)}
    pixels = torch.from_numpy(pipeline(prompts, output_type="np", **settings).images).permute(0, 3, 1, 2)
    correct = features.letters().classifier.correct(2 * pixels - 1, labels_of(asked))
    assert correct["all"].float().mean() > 0.7
