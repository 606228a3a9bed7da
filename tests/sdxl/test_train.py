"""`python -m sdxl train`: what it leaves, resuming to the bit, stopping for a reason, and mistakes."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from harness.states import unpack
from sdxl.__main__ import main
from sdxl.corrupt import noisy_set
from sdxl.corrupt.noisy_set import CONDITION, NoisySet
from sdxl.model import lora
from sdxl.model.base import Base, find
from sdxl.model.unet import denoiser
from sdxl.parallel import Group
from sdxl.train.command import checked, identity_of, share
from sdxl.train.journal import PATIENCE, Watch
from sdxl.train.loop import Loop
from sdxl.train.objective import Objective
from sdxl.train.options import TrainOptions
from tests.sdxl.conftest import rows_of, write_set
from tests.sdxl.interrupted import after, train
from tests.sdxl.launch import ROOT, on_two, refusal

QUICK = {"steps": 7, "batch": 2, "fraction": 0.5, "learning_rate": 1e-3, "tracker": "none", "log_every": 2, "consistency_from": 2}


def config(tiny_base, data, out, **changes) -> TrainOptions:
    return TrainOptions(base=str(tiny_base.folder), data=str(data), out=str(out), **(QUICK | changes))


def words(tiny_base, data, out, *more: object) -> list[str]:
    given = ["--base", tiny_base.folder, "--data", data, "--out", out, "--tracker", "none", *more]
    return ["train", *map(str, given)]


def newest(run: Path) -> dict:
    return unpack(max((run / "checkpoints").iterdir()).read_bytes())


def metrics(run: Path) -> list[dict]:
    """Without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in ("images_per_second", "memory")} for row in rows_of(run / "metrics.jsonl")]


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def test_a_stopped_run_goes_on_to_the_bit(tiny_base, small_set, tmp_path):
    """In the middle of an epoch and of a line of metrics; LoRA, optimiser, average, what is watched, metrics."""
    group = Group()
    train(config(tiny_base, small_set, tmp_path / "whole", ema=0.9), group)
    train(config(tiny_base, small_set, tmp_path / "parts", ema=0.9), group, after(3))
    assert not (tmp_path / "parts/DONE").exists()
    train(config(tiny_base, small_set, tmp_path / "parts", ema=0.9), group)
    one, other = newest(tmp_path / "whole"), newest(tmp_path / "parts")
    assert same(one, other)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    for name in (lora.FILE, f"ema/{lora.FILE}"):
        whole, parts = tmp_path / "whole" / name, tmp_path / "parts" / name
        assert same(lora.read(whole), lora.read(parts))
        assert lora.about(whole) == lora.about(parts)
    assert (tmp_path / "parts/DONE").exists()
    assert not same(one["lora"], {name: torch.zeros_like(value) for name, value in one["lora"].items()})
    assert not same(lora.read(tmp_path / f"whole/ema/{lora.FILE}"), lora.read(tmp_path / f"whole/{lora.FILE}"))
    assert [("consistency" in row) for row in metrics(tmp_path / "whole")] == [False, True, True, True]


def test_two_processes_go_on_to_the_bit_and_do_what_one_does(tiny_base, small_set, tmp_path):
    """Where all images have the consistency loss; else which of them have it depends on the processes."""
    answer = on_two("-m", "tests.sdxl.interrupted", tiny_base.folder, small_set, tmp_path)
    assert answer.code == 0, answer.error
    assert same(newest(tmp_path / "whole"), newest(tmp_path / "parts"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    train(config(tiny_base, small_set, tmp_path / "alone", ema=0.9, micro_batch=2, fraction=1.0), Group())
    one, two = metrics(tmp_path / "alone"), metrics(tmp_path / "whole")
    assert len(one) == 4
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=1e-3)
    ours, theirs = (lora.read(tmp_path / name / lora.FILE) for name in ("alone", "whole"))
    for name, weight in ours.items():
        assert float((weight - theirs[name]).abs().max()) < 1e-4  # seven steps of 1e-3


def test_checkpoints_hold_the_lora_alone(tiny_base, small_set, tmp_path):
    train(config(tiny_base, small_set, tmp_path / "run", save_every=2, keep=3), Group())
    files = sorted((tmp_path / "run/checkpoints").iterdir())
    assert [int(file.name[5:14]) for file in files] == [4, 6, 7]
    weights = sum(value.numel() for value in newest(tmp_path / "run")["lora"].values())
    assert files[-1].stat().st_size < 4 * 3 * weights + 250_000  # weights and two moments in float32, and the header
    assert all(value.dtype == torch.float32 for value in newest(tmp_path / "run")["lora"].values())


@pytest.mark.parametrize(
    "change", [{"dtype": "bfloat16"}, {"space": "x_n", "weight": 1e-4}, {"min_snr": 5.0}, {"antithetic": True}]
)
def test_options_train(tiny_base, small_set, tmp_path, change):
    train(config(tiny_base, small_set, tmp_path / "run", steps=2, consistency_from=0, **change), Group())
    assert all(math.isfinite(value) for row in rows_of(tmp_path / "run/metrics.jsonl") for value in row.values())


def test_clean_data_and_mixed_levels_train(tiny_base, tmp_path):
    data = write_set(tmp_path / "mixed", tiny_base, t_n=[0, 0, 100, 500, 800, 999])
    train(config(tiny_base, data, tmp_path / "run", steps=3, consistency_from=0), Group())
    assert (tmp_path / "run/DONE").exists()


def test_a_v_predicting_base_trains(tmp_path):
    from sdxl.model import tiny
    from sdxl.model.base import Base

    tiny.write(tmp_path / "v", prediction="v_prediction")
    base = Base(tmp_path / "v")
    data = write_set(tmp_path / "set", base)
    train(config(base, data, tmp_path / "run", steps=2, consistency_from=0), Group())
    assert (tmp_path / "run/DONE").exists()


def test_a_second_stage_starts_from_the_first(tiny_base, small_set, tmp_path):
    """With a learning rate of almost nothing it ends where the first ended; alone it does not."""
    train(config(tiny_base, small_set, tmp_path / "first"), Group())
    still = {"learning_rate": 1e-30, "steps": 1, "consistency_from": 0, "weight_decay": 0.0}
    train(config(tiny_base, small_set, tmp_path / "second", start_from=str(tmp_path / "first"), **still), Group())
    train(config(tiny_base, small_set, tmp_path / "alone", **still), Group())
    first, second, alone = (lora.read(tmp_path / name / lora.FILE) for name in ("first", "second", "alone"))
    assert same(first, second)
    assert not same(first, alone)
    wrong = ["--start-from", tmp_path / "first", "--rank", 8]
    assert "take --rank 4" in refusal(*words(tiny_base, small_set, tmp_path / "other", *wrong))
    assert not (tmp_path / "other").exists()


def test_training_lowers_the_loss(tiny_base, tmp_path):
    """On the same draws, before and after: by more than four standard errors of the paired difference."""
    data = write_set(tmp_path / "one", tiny_base, images=1, t_n=500)
    changes = {"steps": 25, "batch": 8, "micro_batch": 8, "weight": 0.0, "learning_rate": 1e-2, "checkpointing": False}
    train(config(tiny_base, data, tmp_path / "run", **changes), Group())
    objective, rows, count = Objective(tiny_base.path()), NoisySet(data).rows([0] * 64), 64
    draws = objective.draw(rows["t_n"], [False] * count, rows["x_n"].shape[1:], seed=1, numbers=list(range(count)))
    condition = {name: rows[name] for name in CONDITION}

    def losses(unet):
        with torch.no_grad():
            h = denoiser(unet, tiny_base.path(), tiny_base.prediction())
            return objective(h, rows["x_n"], rows["t_n"], condition, draws).ambient

    before, unet = losses(tiny_base.unet()), tiny_base.unet()
    lora.attach(unet, lora.opened(str(tmp_path / "run"), tiny_base))
    gain = before - losses(unet)
    assert float(gain.mean()) > 4 * float(gain.std()) / count**0.5


def test_a_collapse_is_seen():
    """The running mean of the ambient loss climbs to three times its least; noise about a level does not."""
    noise = torch.rand(2000, generator=torch.Generator().manual_seed(0)).tolist()
    watch = Watch(3.0)
    assert not any(watch.collapsed(0.5 + value) for value in noise)
    assert any(watch.collapsed(4.0) for _ in range(3 * PATIENCE))
    again = Watch(3.0, Watch(3.0, [250.0, 1.0, 0.9]).state())
    assert (again.steps, again.mean, again.least) == (250.0, 1.0, 0.9)
    assert not any(Watch(0.0).collapsed(value) for value in (*[1.0] * PATIENCE, *[1e9] * PATIENCE))


def test_what_is_not_finite_stops_it_at_the_last_good_checkpoint(tiny_base, small_set, tmp_path, monkeypatch):
    steps, right = iter(range(100)), Objective.__call__

    def wrong(self, *given):
        parts = right(self, *given)
        return parts._replace(ambient=parts.ambient * (math.nan if next(steps) >= 14 else 1))  # four micro-batches a step

    monkeypatch.setattr(Objective, "__call__", wrong)
    message = refusal(*words(tiny_base, small_set, tmp_path / "run", "--steps", 7, "--batch", 4, "--save-every", 2))
    assert "step 4 is not finite" in message
    (saved,) = (tmp_path / "run/checkpoints").iterdir()
    assert str(saved) in message
    assert "000002-" in saved.name


def test_a_time_limit_saves(tiny_base, small_set, tmp_path):
    from harness.errors import Interrupted

    with pytest.raises(Interrupted, match="saved at step 1"):
        main(words(tiny_base, small_set, tmp_path / "run", "--time-limit", 1e-9, "--batch", 2, "--steps", 50))
    assert steps_and_weight(tmp_path / "run" / lora.FILE) == [1, TrainOptions.weight]


def test_a_lora_has_no_consistency_before_a_step_had_it(tiny_base, small_set, tmp_path):
    train(config(tiny_base, small_set, tmp_path / "run"), Group(), after(2))
    assert steps_and_weight(tmp_path / "run" / lora.FILE) == [2, 0.0]
    train(config(tiny_base, small_set, tmp_path / "run"), Group(), after(1))
    assert steps_and_weight(tmp_path / "run" / lora.FILE) == [3, 0.01]


def test_validation_images_show_what_is_learned(tiny_base, small_set, tmp_path):
    """With the same noise each time; no training makes no difference, training does."""
    changes = {
        "steps": 2,
        "consistency_from": 0,
        "validate_every": 1,
        "validation_images": 2,
        "validation_steps": 2,
        "learning_rate": 0.1,
    }
    train(config(tiny_base, small_set, tmp_path / "run", **changes), Group())
    train(config(tiny_base, small_set, tmp_path / "still", **(changes | {"learning_rate": 1e-30})), Group())
    names = [f"step_{step:09d}_{i}.png" for step in (1, 2) for i in (0, 1)]
    made, still = ([np.asarray(Image.open(tmp_path / run / "validation" / name)) for name in names] for run in ("run", "still"))
    assert made[0].shape == (64, 64, 3)
    assert np.array_equal(still[0], still[2])
    assert not np.array_equal(made[0], made[2])
    assert not np.array_equal(made[0], made[1])


def test_a_dry_run_writes_nothing(tiny_base, small_set, tmp_path, capsys):
    main(words(tiny_base, small_set, tmp_path / "run", "--dry-run", "--batch", 6))
    said = capsys.readouterr().out
    assert "batch: 6" in said
    assert "6 at t_n = 500" in said
    assert "consistency: 1.5 of the 6 images of each process have a consistency term in a step" in said
    assert not (tmp_path / "run").exists()


def test_a_finished_run_says_so(tiny_base, small_set, tmp_path, capsys):
    left = []
    for _ in range(2):
        main(words(tiny_base, small_set, tmp_path / "run", "--steps", 1, "--batch", 1))
        left.append((tmp_path / "run" / lora.FILE).stat().st_mtime_ns)
    assert "is finished, after 1 steps" in capsys.readouterr().out
    assert left[0] == left[1]  # written anew it has other bytes, by which other commands know it


@pytest.mark.parametrize("name", ["export", "validate"])
def test_what_a_kill_cuts_off_after_a_checkpoint_is_made_by_the_same_command(tiny_base, small_set, tmp_path, monkeypatch, name):
    """Of the last step, after which no other one mends it."""

    def killed(self, done):
        if done == 4:
            raise KeyboardInterrupt
        return right(self, done)

    changes = {"steps": 4, "save_every": 2, "validate_every": 2, "validation_images": 1, "validation_steps": 2}
    asked, run, right = config(tiny_base, small_set, tmp_path / "run", **changes), tmp_path / "run", getattr(Loop, name)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, name, killed)
        with pytest.raises(KeyboardInterrupt):
            train(asked, Group())
    assert max((run / "checkpoints").iterdir()).name[5:14] == "000000004"
    assert not (run / "validation/step_000000004_0.png").exists()
    train(asked, Group())
    assert (run / "DONE").exists()
    assert (run / "validation/step_000000004_0.png").exists()
    assert steps_and_weight(run / lora.FILE)[0] == 4
    assert same(lora.opened(str(run), tiny_base).state, newest(run)["lora"])


def test_a_run_knows_its_type_and_its_start_by_what_they_are(tiny_base, small_set, tmp_path):
    one = config(tiny_base, small_set, tmp_path / "start", steps=1, consistency_from=0)
    train(one, Group())
    data, cpu = NoisySet(small_set), torch.device("cpu")
    first = identity_of(config(tiny_base, small_set, tmp_path / "run", start_from=str(tmp_path / "start")), data, tiny_base, cpu)
    (tmp_path / "start").rename(tmp_path / "moved")
    moved = config(tiny_base, small_set, tmp_path / "run", start_from=str(tmp_path / "moved"))
    assert identity_of(moved, data, tiny_base, cpu) == first
    assert first["dtype"] == "float32"
    assert identity_of(moved, data, tiny_base, torch.device("cuda"))["dtype"] == "bfloat16"
    train(config(tiny_base, small_set, tmp_path / "other", steps=2, consistency_from=0), Group())
    other = config(tiny_base, small_set, tmp_path / "run", start_from=str(tmp_path / "other"))
    assert identity_of(other, data, tiny_base, cpu) != first


def test_the_plan_says_how_many_images_have_a_consistency_term():
    assert share(TrainOptions(batch=16, fraction=0.25), 2) == [
        "consistency: 2 of the 8 images of each process have a consistency term in a step"
    ]
    rare = "consistency: 0.25 of the 1 images of each process have a consistency term in a step, all of them in one step of 4"
    assert share(TrainOptions(batch=16, fraction=0.25), 16) == [rare]
    assert share(TrainOptions(weight=0), 1) == []


def test_another_config_in_the_same_folder_is_refused(tiny_base, small_set, tmp_path):
    main(words(tiny_base, small_set, tmp_path / "run", "--steps", 1, "--batch", 1))
    assert "(rank: 4, asked for 8)" in refusal(
        *words(tiny_base, small_set, tmp_path / "run", "--steps", 1, "--batch", 1, "--rank", 8)
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--batch", 3, "--micro-batch", 2], "--batch 3 is no multiple of 2"),
        (["--rank", 0], "--rank must be between 1"),
        (["--fraction", 0], "--weight 0"),
        (["--steps", 10, "--consistency-from", 10], "is not reached in 10 steps; take --weight 0"),
        (["--fraction", 1.5], "--fraction must be between 0 and 1"),
        (["--min-snr", 5, "--space", "x_n"], "take --space eps"),
        (["--kernel", "ancestrel"], "did you mean ancestral?"),
        (["--learning-rat", 1], "did you mean --learning-rate?"),
        (["--start-from", "nowhere"], "nowhere does not exist"),
        (["--collapse", 0.5], "--collapse must be 0, or above 1"),
    ],
)
def test_mistakes_in_options(tiny_base, small_set, tmp_path, changes, said):
    assert said in refusal(*words(tiny_base, small_set, tmp_path / "run", "--steps", 1, *changes))


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_there_is_refused_before_the_first_step(tiny_base, small_set, tmp_path):
    given = ["--base", tiny_base.folder, "--data", small_set, "--out", tmp_path / "run", "--tracker", "wandb", "--steps", 1]
    assert "tracker wandb: it is not installed; install it, or take --tracker none" in refusal("train", *given)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def steps_and_weight(file: Path) -> list[float]:
    said = lora.about(file)
    assert said is not None
    return [said.steps, said.weight]


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2", "tokenizer"])
def test_a_set_whose_captions_are_of_other_text_encoders_is_refused(tiny_base, tmp_path, part):
    """As `corrupt` has written it, with all else the same."""
    other = Base(Path(shutil.copytree(tiny_base.folder, tmp_path / "other")))
    settings = next(file for name in ("config.json", "tokenizer_config.json") if (file := other.folder / part / name).exists())
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"another": 1}))
    asked = ["--data", "photographs", "--images", 2, "--resolution", 64, "--base", tiny_base.folder, "--out", tmp_path / "set"]
    main(["corrupt", *map(str, asked)])
    assert f"its captions from another {part} than" in refusal(*words(other, tmp_path / "set", tmp_path / "run"))
    main(words(tiny_base, tmp_path / "set", tmp_path / "run", "--dry-run", "--batch", 2))


def change_schedule(base: Base, **values: object) -> None:
    file = base.folder / "scheduler/scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_run_does_not_go_on_once_the_base_predicts_another_thing(tiny_base, small_set, tmp_path):
    """Nor do other commands take its LoRA then: it was trained under another objective."""
    base = Base(Path(shutil.copytree(tiny_base.folder, tmp_path / "base")))
    given = words(base, small_set, tmp_path / "run", "--steps", 1, "--batch", 1)
    main(given)
    change_schedule(base, prediction_type="v_prediction")
    assert "prediction: 'eps', asked for 'v'" in refusal(*given)
    found = ["--base", base.folder, "--data", "photographs", "--images", 1, "--resolution", 64, "--out", tmp_path / "out"]
    for command in (
        words(base, small_set, tmp_path / "out", "--start-from", tmp_path / "run", "--steps", 1, "--batch", 1),
        ["generate", "--base", base.folder, "--lora", tmp_path / "run", "--out", tmp_path / "out"],
        ["attack", "noise", *found, "--lora", tmp_path / "run"],
        ["evaluate", "restoration", *found, "--loras", tmp_path / "run"],
    ):
        assert "was trained on another base" in refusal(*command)
    change_schedule(base, prediction_type="epsilon")
    main(given)


def test_an_attack_does_not_go_on_with_another_sampler(tiny_base, tmp_path):
    base = Base(Path(shutil.copytree(tiny_base.folder, tmp_path / "base")))
    given = ["attack", "noise", "--base", base.folder, "--data", "photographs", "--images", 1, "--resolution", 64, "--steps", 1]
    given += ["--t", 500, "--out", tmp_path / "out"]
    main([str(word) for word in given])
    change_schedule(base, timestep_spacing="trailing")
    assert "print of timesteps: 'leading, offset 1', asked for 'trailing, offset 1'" in refusal(*given)


def test_a_set_of_pure_noise_is_neither_made_nor_trained_on(tmp_path):
    """The last time of a schedule with zero terminal SNR holds no signal."""
    from sdxl.model import tiny

    tiny.write(tmp_path / "base", prediction="v_prediction")
    base = Base(tmp_path / "base")
    data = write_set(tmp_path / "set", base, t_n=999)
    change_schedule(base, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    given = ["corrupt", "--base", base.folder, "--data", "photographs", "--resolution", 64]
    given += ["--t-n", 999, "--out", tmp_path / "new"]
    assert "1 .. 998 (999 is pure noise), or 0" in refusal(*given)
    assert not (tmp_path / "new").exists()
    manifest = replace(NoisySet(data).manifest, schedule=base.schedule_digest())
    noisy_set.write_manifest(data, manifest)
    assert "has images at t_n = 999, which are pure noise" in refusal(*words(base, data, tmp_path / "run"))
    below = write_set(tmp_path / "below", base, t_n=998)  # t is 999 in every second draw
    train(config(base, below, tmp_path / "run", steps=3, consistency_from=0, fraction=1.0), Group())
    assert all(math.isfinite(value) for row in rows_of(tmp_path / "run/metrics.jsonl") for value in row.values())


def test_training_starts_from_a_lora_of_its_own_alpha_alone(tiny_base, small_set, tmp_path):
    train(config(tiny_base, small_set, tmp_path / "first", steps=1, consistency_from=0, alpha=32.0), Group())
    given = words(tiny_base, small_set, tmp_path / "second", "--start-from", tmp_path / "first", "--dry-run")
    assert "take --rank 4 --alpha 32" in refusal(*given)
    main([*given, "--alpha", "32"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCELERATE_USE_DEEPSPEED", "true"), ("ACCELERATE_USE_FSDP", "true"), ("ACCELERATE_MIXED_PRECISION", "fp8")],
)
def test_settings_of_accelerate_that_are_not_used_are_refused_by_name(tiny_base, small_set, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert name in refusal(*words(tiny_base, small_set, tmp_path / "run", "--dry-run"))
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):  # the first process speaks for all
        Group()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_a_tracker_does_not_depend_on_the_settings_of_accelerate(tiny_base, small_set, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # which accelerate refuses on a CPU
    train(config(tiny_base, small_set, tmp_path / "run", steps=1, consistency_from=0, tracker="tensorboard"), Group())
    assert list((tmp_path / "run/exact-ambient").glob("events*"))


def test_mistakes_in_the_set(tiny_base, small_set, tmp_path):
    def with_manifest(**changes):
        noisy_set.write_manifest(small_set, replace(NoisySet(small_set).manifest, **changes))
        return refusal(*words(tiny_base, small_set, tmp_path / "run"))

    assert "holds no noisy set" in refusal(*words(tiny_base, tmp_path, tmp_path / "run"))
    assert "--data is missing" in refusal("train", "--base", tiny_base.folder)
    shard = next(small_set.glob("shard_*"))
    right = shard.read_bytes()
    shard.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    assert "is damaged" in refusal(*words(tiny_base, small_set, tmp_path / "run"))
    shard.write_bytes(right)
    assert "another VAE" in with_manifest(vae="0" * 16)
    assert "another noise schedule" in with_manifest(schedule="0" * 16)
    manifest = (small_set / "manifest.json").read_text()
    (small_set / "manifest.json").write_text(manifest.replace('"size": 64', '"size": 128'))
    assert "manifest.json has changed since it was written" in refusal(*words(tiny_base, small_set, tmp_path / "run"))
    (small_set / "manifest.json").write_text("{")
    assert "manifest.json is no JSON" in refusal(*words(tiny_base, small_set, tmp_path / "run"))
    (small_set / "manifest.json").unlink()
    assert "is not finished" in refusal(*words(tiny_base, small_set, tmp_path / "run"))


def test_a_vae_alone_is_compared_with_that_of_the_set(tiny_base, tmp_path):
    """As sdxl-vae-fp16-fix comes: a folder that holds the model and nothing else."""
    data = write_set(tmp_path / "set", tiny_base)
    vae = Path(shutil.copytree(tiny_base.folder / "vae", tmp_path / "vae"))
    asked = config(tiny_base, data, tmp_path / "run", vae=str(vae))
    assert len(checked(asked, tiny_base, find(str(vae), parts=("vae",)), Group())) == 6
    file = next(vae.glob("*.safetensors"))
    weights = load_file(file)
    save_file({name: value + 1 for name, value in weights.items()}, file)
    assert "another VAE" in refusal(*words(tiny_base, data, tmp_path / "run", "--vae", vae))


def test_mistakes_in_the_base(tiny_base, small_set, tmp_path):
    assert "is no folder" in refusal("train", "--base", "nowhere", "--data", small_set)
    assert "has no unet/" in refusal("train", "--base", small_set, "--data", small_set)


def start(tiny_base, data, out, *more: object) -> subprocess.Popen:
    given = ["--batch", 2, "--save-every", 1, "--learning-rate", 1e-3, "--log-every", 1, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "sdxl", *words(tiny_base, data, out, *given)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def wait_for(run: Path, process: subprocess.Popen, steps: int) -> None:
    while process.poll() is None:
        if any(int(file.name[5:14]) >= steps for file in (run / "checkpoints").glob("step_*")):
            return
        time.sleep(0.02)


def test_sigterm_saves_and_leaves(tiny_base, small_set, tmp_path):
    process = start(tiny_base, small_set, tmp_path / "run", "--steps", 100_000)
    wait_for(tmp_path / "run", process, 2)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "saved at step" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_ten_kills_at_random_change_nothing(tiny_base, small_set, tmp_path):
    """kill -9 at a random moment, ten times: the end is that of a run that was left alone, to the bit."""
    main(words(tiny_base, small_set, tmp_path / "whole", "--batch", 2, "--learning-rate", 1e-3, "--steps", 60))
    pause, killed = random.Random(0), 0
    while killed < 10:
        process = start(tiny_base, small_set, tmp_path / "parts", "--steps", 60)
        wait_for(tmp_path / "parts", process, 4 * killed + 1)
        time.sleep(pause.random() * 0.5)
        assert process.poll() is None, "it ended before the tenth kill"
        process.kill()
        process.communicate()
        killed += 1
    process = start(tiny_base, small_set, tmp_path / "parts", "--steps", 60)
    process.communicate()
    assert process.returncode == 0
    assert same(newest(tmp_path / "whole")["lora"], newest(tmp_path / "parts")["lora"])
    assert same(newest(tmp_path / "whole")["optimiser"], newest(tmp_path / "parts")["optimiser"])
