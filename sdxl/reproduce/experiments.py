"""The paper's experiments as commands of `python -m sdxl`, for the mini model and coloured digits."""

from __future__ import annotations

from pathlib import Path

import sdxl
from sdxl import script
from sdxl.reproduce.options import ReproduceOptions

LEVELS = (100, 500, 800)
CONFIGS = Path(sdxl.__file__).parent / "configs"
FEATURES = "module:sdxl.mini.features:letters"
PROMPTS = ("a red handwritten digit 3 on a pale blue ground", "a white handwritten digit 8 on a dark ground",
           "a large blue letter k on a pale ground", "a yellow greek psi on a dark purple ground")  # fmt: skip

SHARED = {  # arguments that several commands share
    "set": "--base {base} --resolution 32 --data {digits} --split train --seed {seed}",
    "few_set": "--base {base} --resolution 32 --data {few} --split train --seed {seed}",
    "optimiser": "--base {base} --seed {seed} --learning-rate {learning_rate} --decay 0.5 --layers {layers} --rank {rank} \
        --alpha {rank} --micro-batch 16 --dtype float32 --no-checkpointing",
    "stages": "--steps {steps} --consistency-from {first_stage}",
    "memorization_stages": "--steps {memorization_steps} --consistency-from {memorization_first_stage}",
    "samples": "--base {base} --prompts {prompts} --images {images} \
        --steps {sampling_steps} --guidance 1 --batch 64 --seed {seed}",
    "shown": "--base {base} --prompts {shown} --images 4 --steps {sampling_steps} --guidance 3 --batch 4 --seed {seed}",
    "unprompted": "--base {base} --null-caption --images 6 --steps {sampling_steps} --guidance 1 --batch 6 --seed {seed}",
    "attack": "--base {base} --t 900 --data {few} --steps {sampling_steps} --seed {seed}",
}
OF_LEVEL = r"""
corrupt {set} --t-n LEVEL --out {run}/noisy_LEVEL
train --config {configs}/ffhq_LEVEL.yaml {optimiser} --data {run}/noisy_LEVEL --steps {steps} --weight 0 --out {run}/plain_LEVEL
train --config {configs}/ffhq_LEVEL_consistency.yaml {optimiser} --data {run}/noisy_LEVEL {stages} \
    --out {run}/consistent_LEVEL
generate {samples} --lora {run}/plain_LEVEL --out {run}/samples_plain_LEVEL
generate {samples} --lora {run}/plain_LEVEL --stop LEVEL --out {run}/stopped_LEVEL
generate {samples} --lora {run}/consistent_LEVEL --out {run}/samples_consistent_LEVEL
generate {shown} --lora {run}/consistent_LEVEL --out {run}/prompts_LEVEL
generate {unprompted} --lora {run}/plain_LEVEL --out {run}/unprompted_plain_LEVEL
generate {unprompted} --lora {run}/consistent_LEVEL --out {run}/unprompted_consistent_LEVEL
"""  # each line is a command of `python -m sdxl`; LEVEL is each of LEVELS
FIRST = r"""
corrupt {set} --t-n 0 --out {run}/noisy_0
train --config {configs}/ffhq_0.yaml {optimiser} --data {run}/noisy_0 --steps {steps} --weight 0 --out {run}/clean
generate {samples} --out {run}/samples_base
generate {samples} --lora {run}/clean --out {run}/samples_clean
generate {shown} --out {run}/prompts_base
generate {shown} --lora {run}/clean --out {run}/prompts_clean
generate {unprompted} --lora {run}/clean --out {run}/unprompted_clean
"""
LAST = r"""
generate --base {base} --posterior {run}/noisy_500 --lora {run}/consistent_500 --images 8 --guidance 1 --seed {seed} \
    --out {run}/posterior
evaluate restoration --base {base} --resolution 32 --data {digits} --split held_out --seed {seed} --no-pixels --loras {loras} \
    --out {run}/restoration
evaluate fid --generated {generated} --reference {digits} --split held_out --extractor {features} --seed {seed} \
    --out {run}/fid
corrupt {few_set} --t-n 0 --out {run}/few_0
corrupt {few_set} --t-n 500 --out {run}/few_500
train --config {configs}/ffhq_0.yaml {optimiser} --data {run}/few_0 --steps {memorization_steps} --weight 0 --out {run}/few_clean
train --config {configs}/ffhq_500_consistency.yaml {optimiser} --data {run}/few_500 {memorization_stages} --out {run}/few_noisy
attack noise {attack} --split train --lora {run}/few_clean --out {run}/attack_clean
attack noise {attack} --split train --lora {run}/few_noisy --out {run}/attack_noisy
attack noise {attack} --split held_out --lora {run}/few_clean --out {run}/control_clean
attack noise {attack} --split held_out --lora {run}/few_noisy --out {run}/control_noisy
generate --base {base} --null-caption --images {images} --steps {sampling_steps} --guidance 1 --batch 64 --seed {seed} \
    --lora {run}/few_clean --out {run}/samples_few_clean
evaluate memorization --images {run}/attack_clean {run}/attack_noisy --control {run}/control_clean {run}/control_noisy \
    --training {few} --training-split train --held-out {few} --held-out-split held_out --extractor {features} --out {run}/memory
evaluate memorization --images {run}/attack_clean {run}/samples_few_clean --training {few} --training-split train \
    --held-out {few} --held-out-split held_out --extractor {features} --out {run}/memory_samples
figures --runs {shown_runs} --data {digits} --split train --out {run}/figures
"""


def commands(config: ReproduceOptions, seed: int) -> list[list[str]]:
    """The commands of one seed, each as a list of arguments."""
    out, run = config.folder(), config.folder() / f"seed_{seed}"
    text = "".join([FIRST, *(OF_LEVEL.replace("LEVEL", str(t_n)) for t_n in LEVELS), LAST])
    made = [line.rpartition("/")[2] for line in text.replace("\\\n", "").splitlines() if line]
    loras = ["clean", *(f"{kind}_{t_n}" for t_n in LEVELS for kind in ("plain", "consistent"))]
    generated = [name for name in made if name.startswith(("samples", "stopped")) and "few" not in name]
    shown = [name for name in made if name not in generated and not name.startswith(("control", "figures"))]
    lists = {"loras": loras, "generated": generated, "shown_runs": shown}
    shared = SHARED | {"optimiser": f"{SHARED['optimiser']} {config.train_options}"}
    shared |= {name: " ".join(f"{{run}}/{each}" for each in names) for name, names in lists.items()}
    values = {
        "base": config.base or out / "mini", "digits": out / "digits", "few": out / "few", "prompts": out / "prompts.txt",
        "shown": out / "shown.txt", "run": run, "configs": CONFIGS, "features": FEATURES, "seed": seed, "images": config.images,
        "learning_rate": config.learning_rate, "layers": config.layers, "rank": config.rank,
        "steps": config.steps, "first_stage": config.steps * 3 // 4,
        "memorization_steps": config.memorization_steps, "memorization_first_stage": config.memorization_steps * 3 // 4,
        "sampling_steps": config.sampling_steps,
    }  # fmt: skip
    return script.filled(text, shared, values)
