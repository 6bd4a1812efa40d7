"""Does pretraining ten digit rules help the unified rule, and how are they best merged?

Per seed: ten digit rules from one common initialisation, then on the same budget of fine-tuning

    scratch   the common initialisation: the ten rules are not used
    last      the weights of the digit 9's rule
    mean      the mean of the ten
    distil    `scratch`, but a quarter of the budget goes into imitating the ten: the same fire
              masks, the error of the whole cell state at the loss steps

and once more `scratch` with the iterations that pretraining took added to its budget (`longer`).

    python experiments/merging.py            # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.cells import seed_state
from nca_lib.dataset import Dataset
from nca_lib.rule import NCA
from nca_lib.training import TrainingConfig, train
from nca_lib.training.optimisers import Optimisers, learning_rate
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretraining import initial_rule, merge

import torch
from common import Results, curve_writer, open_digits, options, train_and_measure
from figures import draw_merging

VARIANTS = ("scratch", "last", "mean", "distil", "longer")
PRETRAINING = 60  # iterations of each digit
IMITATION = 0.25  # share of the budget that distillation takes


def pretrained(data: Dataset, seed: int) -> list[NCA]:
    """The ten digit rules of a seed."""
    rules = []
    for digit in range(10):
        rule = initial_rule(PRESETS["quick"].rule, seed)
        config = replace(PRESETS["quick"].pretrain, iterations=PRETRAINING)
        config = replace(config, seed=seed * 100 + 1 + digit)
        train(rule, data.train.only(digit), config, progress=False)
        rule.genome.forget_styles()  # the merged rule is told codes, not styles
        rules.append(rule)
    return rules


def teach(teachers: list[NCA], images, labels, noise, config, seeds):
    """The teachers' states at the loss steps, `[R, B, C, H, W]`, and the codes they were told."""
    state = seed_state(1, teachers[0].config.channels)
    frames, codes = [], []
    for image, label, own, seed in zip(images, labels, noise, seeds, strict=True):
        teacher = teachers[int(label)]
        code = teacher.encoder(image[None], label[None]).sample(own[None])
        genome = teacher.genome(label[None], code)
        frames.append(teacher.rollout(state, genome, config.steps, seed[None], config.loss_steps))
        codes.append(code)
    return torch.cat(frames, 1), torch.cat(codes)


def distil(student: NCA, teachers: list[NCA], data: Dataset, config: TrainingConfig, watch) -> None:
    """Let the student imitate the ten: the same starts, fire masks and codes, the same states."""
    generator = torch.Generator().manual_seed(config.seed)
    optimisers = Optimisers(student, config)
    for iteration in range(config.iterations):
        pick = torch.randint(len(data.train), (config.batch_size,), generator=generator)
        images, labels = data.train.images[pick], data.train.labels[pick]
        noise = torch.randn(len(pick), student.config.style_dim, generator=generator)
        seeds = torch.randint(2**62, (len(pick),), generator=generator)
        with torch.no_grad():
            wanted, codes = teach(teachers, images, labels, noise, config, seeds)
        student.zero_grad()
        state = seed_state(len(pick), student.config.channels)
        genome = student.genome(labels, codes)
        frames = student.rollout(state, genome, config.steps, seeds, config.loss_steps)
        # of the student's encoder: it learns to give the codes that the teachers' gave
        code = student.encoder(images, labels)
        loss = (frames - wanted).square().mean() + 0.01 * (code.mean - codes).square().mean()
        loss.backward()
        for parameter in student.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip_norm)
        optimisers.step(learning_rate(iteration, config))
        if (iteration + 1) % 50 == 0:
            watch(student, iteration + 1)


def run(variant: str, rules: list[NCA], data: Dataset, seed: int, iterations: int) -> dict:
    """One training of one variant, measured."""
    config = replace(PRESETS["quick"].finetune, iterations=iterations, seed=seed)
    if variant == "longer":
        config = replace(config, iterations=iterations + 10 * PRETRAINING)
    if variant != "distil":
        rule = merge(rules, "scratch" if variant == "longer" else variant, seed)
        return train_and_measure(rule, data, config)
    rule, first = merge(rules, "scratch", seed), round(IMITATION * iterations)
    imitated: list = []
    watch = curve_writer(imitated, data, config.steps)
    distil(rule, rules, data, replace(config, iterations=first), watch)
    row = train_and_measure(rule, data, replace(config, iterations=iterations - first))
    row["curve"] = imitated + [[first + iteration, value] for iteration, value in row["curve"]]
    return row


def main() -> None:
    arguments = options(__doc__)
    data = open_digits(arguments.data_root)
    results = Results(arguments.results / "merging.jsonl")
    for seed in range(arguments.seeds):
        missing = [variant for variant in VARIANTS if not results.has(variant=variant, seed=seed)]
        rules = pretrained(data, seed) if missing else []
        for variant in missing:
            row = run(variant, rules, data, seed, arguments.iterations)
            results.add({"variant": variant, "seed": seed} | row)
    draw_merging(results, VARIANTS, arguments.results / "merging.png")


if __name__ == "__main__":
    main()
