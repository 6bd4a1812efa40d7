"""Pictures that nobody wrote: styles drawn from N(0, I), and labels that change during growth."""

from __future__ import annotations

from nca_lib.classifier import Classifier
from nca_lib.data.dataset import Dataset, Pictures
from nca_lib.evaluation.baselines import class_pca
from nca_lib.evaluation.behaviour import SAMPLES, SWITCHING, rollout_batches
from nca_lib.evaluation.metrics import classify, compare_sets
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds

import torch

SWITCH_STEPS = 96
SWITCH_STYLES = 40  # per pair: with ten, the worst of ninety pairs would be a matter of luck


@torch.no_grad()
def samples(
    model: NCA, data: Dataset, test: Pictures, seed: int, classifier: Classifier
) -> dict[str, object]:
    """Pictures grown in drawn styles, compared with the test pictures as a set.

    `references`: what real training pictures reach, and Gaussians over PCA codes.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = test.labels[torch.randperm(len(test), generator=generator)]
    styles = torch.randn(len(labels), model.config.style_dim, generator=generator)
    condition, seeds = model.condition(labels, styles), rng_seeds(len(labels), seed, SAMPLES)
    grown = rollout_batches(model, model.seed(len(labels)), condition, (model.steps,), seeds)[-1]
    train = data.train.select(torch.isin(data.train.labels, test.labels.unique()))
    drawn = class_pca(train, model.config.style_dim).sample(labels, generator)
    pick = torch.randperm(len(train), generator=generator)[: len(test)]
    _, real = classify(classifier, test.images)
    results = {}
    for name, images, wanted in (
        ("model", grown[:, : model.spec.channels].clamp(0, 1), labels),
        ("real_training_digits", train.images[pick], train.labels[pick]),
        ("class_pca_gaussian", drawn.clamp(0, 1), labels),
    ):
        predicted, features = classify(classifier, images)
        right = (predicted == wanted).double().mean().item()
        results[name] = {"classifier_accuracy": right} | compare_sets(features, real)
    return results.pop("model") | {"n": len(labels), "references": results}


@torch.no_grad()
def switching(
    model: NCA, steps: int, seed: int, classifier: Classifier, most: int = SWITCH_STYLES
) -> dict[str, object]:
    """Each class, once grown, is conditioned on each other label, in up to `most` styles.

    Returns the share that is classified as the new label 96 steps later: of all, and of the pair
    of labels that does worst.
    """
    styles = min(most, SWITCH_STYLES)
    pairs = torch.where(~torch.eye(len(model.spec.classes), dtype=torch.bool))
    old, new = (labels.repeat(styles) for labels in pairs)  # [90 * styles] for digits
    generator, seeds = torch.Generator().manual_seed(seed), rng_seeds(len(old), seed, SWITCHING)
    style = torch.randn(len(old), model.config.style_dim, generator=generator)
    before, after = model.condition(old, style), model.condition(new, style)
    state = rollout_batches(model, model.seed(len(old)), before, (steps,), seeds)[-1]
    state = rollout_batches(model, state, after, (SWITCH_STEPS,), seeds, steps)[-1]
    predicted, _ = classify(classifier, state[:, : model.spec.channels].clamp(0, 1))
    right = (predicted == new).double().view(styles, -1).mean(0)  # [90]
    worst = int(right.argmin())
    return {
        "classifier_accuracy": right.mean().item(),
        "worst_pair": [int(old[worst]), int(new[worst])],
        "worst_pair_classifier_accuracy": right[worst].item(),
    }
