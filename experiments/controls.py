"""Claims about the shipped unified model, each with its control; nothing is trained.

persistence  How much of a picture is left after 10 and 100 times the steps of training?
origin       Do the origin marker and the positional channels hold a picture? They are wiped every
             32 steps; as a control, as many hidden channels are wiped.
prior        Pictures in drawn styles, at full scale and at the library's temperature; and, as the
             most that any prior can reach, in styles of training pictures.
leakage      The model is conditioned on the label. Given a wrong one, in the style of the picture:
             which of the two labels does the classifier see?

python experiments/controls.py --data-root DIR
"""

from __future__ import annotations

import copy
import json

from nca_lib import load
from nca_lib.classifier import load_classifier
from nca_lib.data import Dataset, Pictures
from nca_lib.evaluation.behaviour import GROWTH, SAMPLES, infer_styles, regrow, rollout_batches
from nca_lib.evaluation.metrics import classify, compare_sets, pixel_accuracy
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds

import torch
from common import open_digits, options, rounded, save_results
from figures import draw_controls

TIMES = (1, 10, 100)
WIPED_EVERY, ROUNDS = 32, 10


def channels_of(model: NCA) -> dict[str, list[int]]:
    """Which channels are wiped: trained ones, and as many hidden ones."""
    origin, positional = model.spec.origin, model.spec.positional
    position = list(range(positional.start, positional.stop))
    hidden = list(range(positional.stop, model.config.channels))
    return {
        "nothing": [],
        "origin marker": [origin],
        "one hidden channel": hidden[:1],
        "origin and positional channels": [origin, *position],
        "seven hidden channels": hidden[: 1 + len(position)],
    }


def persistence(model: NCA, data: Dataset, seed: int) -> dict:
    """Pixel accuracy at 1, 10 and 100 times the training steps."""
    pictures, steps = data.test.limit(400), tuple(model.steps * many for many in TIMES)
    frames = regrow(model, pictures, steps, seed)[:, :, : model.spec.channels]
    rows = zip(TIMES, frames, strict=True)
    return rounded({f"{many}x": pixel_accuracy(ink, pictures.images) for many, ink in rows})


def origin(model: NCA, data: Dataset, seed: int) -> dict:
    """Pixel accuracy at 10x the training steps, with channels wiped every 32 steps."""
    exact = copy.deepcopy(model).double()  # growths that fall apart magnify roundings
    pictures = data.test.limit(500)
    seeds = rng_seeds(len(pictures), seed, GROWTH)
    condition = exact.condition(pictures.labels, infer_styles(exact, pictures)).detach()
    results = {}
    for name, wiped in channels_of(model).items():
        state = regrow(exact, pictures, (WIPED_EVERY,), seed)[-1].clone()
        for turn in range(1, ROUNDS):
            state[:, wiped] = 0
            steps, first = (WIPED_EVERY,), turn * WIPED_EVERY
            state = rollout_batches(exact, state, condition, steps, seeds, first)[-1].clone()
        results[name] = pixel_accuracy(state[:, : model.spec.channels], pictures.images)
    return rounded(results)


def prior(model: NCA, data: Dataset, seed: int) -> dict:
    """Classifier accuracy, FID, coverage and density of pictures, by where their styles are from.

    All are compared with the test pictures.
    """
    classifier, test, ink = load_classifier(), data.test, model.spec.channels
    temperature, generator = model.conditioning.temperature.item(), torch.Generator()
    labels = test.labels[torch.randperm(len(test), generator=generator.manual_seed(seed))]
    drawn = torch.randn(len(labels), model.config.style_dim, generator=generator)
    counts = labels.bincount().tolist()
    per_label = [data.train.only(label).limit(count) for label, count in enumerate(counts)]
    real = Pictures(*(torch.cat([getattr(p, part) for p in per_label]) for part in vars(test)))
    _, wanted = classify(classifier, test.images)
    results = {}
    for name, (styles, given) in {
        f"temperature {temperature:g}": (drawn, labels),
        "temperature 1": (drawn / temperature, labels),
        "training digits": (infer_styles(model, real), real.labels),
    }.items():
        seeds, state = rng_seeds(len(given), seed, SAMPLES), model.seed(len(given))
        condition = model.condition(given, styles).detach()
        grown = rollout_batches(model, state, condition, (model.steps,), seeds)[-1, :, :ink]
        predicted, features = classify(classifier, grown.clamp(0, 1))
        right = (predicted == given).double().mean().item()
        results[name] = rounded({"classifier_accuracy": right} | compare_sets(features, wanted))
    return results


def leakage(model: NCA, data: Dataset, seed: int) -> dict:
    """What is classified as which label, when the model is given the right or a wrong one."""
    pictures, classifier = data.test.limit(2000), load_classifier()
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randint(1, 10, (len(pictures),), generator=generator)
    styles = infer_styles(model, pictures)  # of the picture, with its own label
    results = {}
    wrong = (pictures.labels + shift) % 10
    for name, labels in {"right label": pictures.labels, "wrong label": wrong}.items():
        given = Pictures(pictures.images, labels)
        grown = regrow(model, given, (model.steps,), seed, styles)[-1]
        predicted, _ = classify(classifier, grown[:, : model.spec.channels].clamp(0, 1))
        results[name] = rounded({
            "given_label": (predicted == labels).double().mean().item(),
            "picture_label": (predicted == pictures.labels).double().mean().item(),
        })  # fmt: skip
    return results


def main() -> None:
    arguments = options(__doc__)
    data, model = open_digits(arguments.data_root), load("unified")
    found = {}
    for measure in (persistence, origin, prior, leakage):
        name = measure.__name__
        found[name] = rows = [measure(model, data, seed) for seed in range(arguments.seeds)]
        results = {"weights": model.metadata["sha256"], "seeds": rows}
        print(name, json.dumps(rows, indent=1), flush=True)
        save_results(results, arguments.results / f"{name}.json")
    draw_controls(found, arguments.results / "controls.png")


if __name__ == "__main__":
    main()
