"""Does pretraining ten digit models help the unified model, and how are they best merged?

Per seed: ten digit models from one common initialisation, then fine-tuning on the same budget from

    scratch   the common initialisation: the ten models are not used
    last      the parameters of the digit 9's model
    mean      the mean of the ten
    distil    `scratch`, but a quarter of the budget goes into imitating the ten: the same fire
              masks, the error of the whole cell state at the loss steps

and `longer`: `scratch` with the iterations that pretraining took added to its budget.

    python experiments/merging.py            # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.data import Dataset
from nca_lib.model import NCA
from nca_lib.training import TrainingConfig, train
from nca_lib.training.optimisers import Optimisers, learning_rate
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretrain import initial_model, merge

import torch
from common import CURVE_EVERY, curve_callback, open_digits, options, train_and_measure
from figures import draw_merging
from rows import Results

VARIANTS = ("scratch", "last", "mean", "distil", "longer")
PRETRAINING = 60  # iterations of each digit
IMITATION = 0.25  # share of the budget that distillation takes


def pretrained(data: Dataset, seed: int) -> list[NCA]:
    """The ten digit models of a seed."""
    models = []
    for digit in range(10):
        model = initial_model(data.spec, PRESETS["quick"].model, seed)
        config = replace(PRESETS["quick"].pretrain, iterations=PRETRAINING)
        config = replace(config, seed=seed * 100 + 1 + digit)
        train(model, data.train.only(digit), config, progress=False)
        model.conditioning.reset_styles()  # the merged model is conditioned on codes, not styles
        models.append(model)
    return models


def teach(teachers: list[NCA], images, labels, noise, config, seeds):
    """The teachers' states at the loss steps, `[R, B, C, H, W]`, and the codes they grew from."""
    frames, codes = [], []
    for image, label, own, seed in zip(images, labels, noise, seeds, strict=True):
        teacher = teachers[int(label)]
        code = teacher.encoder(image[None], label[None]).sample(own[None])
        condition = teacher.condition(label[None], code)
        state, steps = teacher.seed(), config.loss_steps
        frames.append(teacher.rollout(state, condition, steps[-1], seed[None], steps))
        codes.append(code)
    return torch.cat(frames, 1), torch.cat(codes)


def imitate(student: NCA, teachers: list[NCA], batch, config: TrainingConfig) -> torch.Tensor:
    """The loss: the same seeds, fire masks and codes should give the teachers' states."""
    images, labels, noise, seeds = batch
    with torch.no_grad():
        wanted, codes = teach(teachers, images, labels, noise, config, seeds)
    state, condition = student.seed(len(images)), student.condition(labels, codes)
    frames = student.rollout(state, condition, config.steps, seeds, config.loss_steps)
    code = student.encoder(images, labels)  # the encoder learns to give the teachers' codes
    return (frames - wanted).square().mean() + 0.01 * (code.mean - codes).square().mean()


def distil(student: NCA, teachers: list[NCA], data: Dataset, config: TrainingConfig, note) -> None:
    """Let the student imitate the ten teachers."""
    student.steps, generator = config.steps, torch.Generator().manual_seed(config.seed)
    optimisers = Optimisers(student, config.learning_rate)
    for iteration in range(config.iterations):
        pick = torch.randint(len(data.train), (config.batch_size,), generator=generator)
        noise = torch.randn(len(pick), student.config.style_dim, generator=generator)
        seeds = torch.randint(2**62, (len(pick),), generator=generator)
        batch = data.train.images[pick], data.train.labels[pick], noise, seeds
        student.zero_grad()
        imitate(student, teachers, batch, config).backward()
        for parameter in student.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip_norm)
        optimisers.step(learning_rate(iteration, config.learning_rate, config.iterations))
        if (iteration + 1) % CURVE_EVERY == 0:
            note(iteration + 1, {}, student)


def run(variant: str, models: list[NCA], data: Dataset, seed: int, iterations: int) -> dict:
    """One training run of one variant, measured."""
    config = replace(PRESETS["quick"].finetune, iterations=iterations, seed=seed)
    if variant == "longer":
        config = replace(config, iterations=iterations + 10 * PRETRAINING)
    if variant != "distil":
        model = merge(models, "scratch" if variant == "longer" else variant, seed)
        return train_and_measure(model, data, config)
    model, first = merge(models, "scratch", seed), round(IMITATION * iterations)
    imitated: list = []
    note = curve_callback(imitated, data)
    distil(model, models, data, replace(config, iterations=first), note)
    row = train_and_measure(model, data, replace(config, iterations=iterations - first))
    row["curve"] = imitated + [[first + iteration, value] for iteration, value in row["curve"]]
    return row


def main() -> None:
    arguments = options(__doc__)
    data = open_digits(arguments.data_root)
    results = Results(arguments.results / "merging.jsonl")
    for seed in range(arguments.seeds):
        missing = [variant for variant in VARIANTS if not results.has(variant=variant, seed=seed)]
        models = pretrained(data, seed) if missing else []
        for variant in missing:
            row = run(variant, models, data, seed, arguments.iterations)
            results.add({"variant": variant, "seed": seed} | row)
    draw_merging(results, VARIANTS, arguments.results / "merging.png")


if __name__ == "__main__":
    main()
