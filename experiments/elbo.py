"""How probable does the unified rule find the test digits? An importance-weighted bound, in nats.

The published yardstick are the variational NCAs of Palm et al. (2022), which bound log p(x) of
binarised MNIST with 128 samples (Burda et al., 2016). Here

    x   the test digits, binarised once: each pixel drawn with its grey value as probability
        (Salakhutdinov and Murray, 2008, by a seed of this file)
    y   the label, uniform over ten: its ln 10 nats are paid for
    z   the code, with the density that was fitted to the codes of the label's training digits
        (a Gaussian, bent by a flow) as prior p(z | y), and the encoder's Gaussian as proposal
        q(z | x, y)
    u   the fire masks: drawn from their own distribution, so they cancel from the weights
    p(x | y, z, u)  Bernoulli per pixel; the grown ink, squeezed into (0, 1) by two numbers that
        are fitted on validation digits (the rule was trained on squared errors)

    log p(x) >= log 1/10 + log 1/K sum_k p(x | y, z_k, u_k) p(z_k | y) / q(z_k | x, y)

    python experiments/elbo.py --data-root DIR --limit 1000
"""

from __future__ import annotations

import argparse
import json
import math

from nca_lib import load
from nca_lib.cells import INK, seed_state
from nca_lib.dataset import Pictures
from nca_lib.rule import NCA

import torch
from common import HERE, open_digits, rounded

SAMPLES = 128
TOGETHER = 50  # pictures, each with its samples, in one rollout


def binarise(digits: Pictures, seed: int = 0) -> Pictures:
    noise = torch.rand(digits.images.shape, generator=torch.Generator().manual_seed(seed))
    return Pictures((noise < digits.images).float(), digits.labels)


def log_prior(rule: NCA, code: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p(z | y) in nats, `[N]`: codes `[N, S]`, labels `[N]`."""
    genome = rule.genome
    inside = genome.flow.log_density(genome.centred(code, labels), labels)
    return inside - genome.spread.diagonal(dim1=1, dim2=2).log().sum(1)[labels]


def draw(rule: NCA, digits: Pictures, count: int, seed: int):
    """`count` codes a picture: ink `[N, K, 784]` and log p(z|y) / q(z|x,y) `[N, K]`."""
    generator, own = torch.Generator().manual_seed(seed), rule.kernels
    mean, log_variance = rule.encoder(digits.images.to(own), digits.labels.to(own.device))  # [N, S]
    n, length = mean.shape
    noise = torch.randn(n, count, length, generator=generator).to(own)
    code = mean[:, None] + noise * (0.5 * log_variance).exp()[:, None]  # [N, K, S]
    labels = digits.labels.repeat_interleave(count).to(own.device)  # [N * K]
    prior = log_prior(rule, code.flatten(0, 1), labels).view(n, count)
    proposal = -0.5 * (noise.square() + log_variance[:, None] + math.log(2 * math.pi)).sum(2)
    ratio = prior - proposal  # [N, K]
    style = rule.genome.style_of(code.flatten(0, 1), labels)
    state = seed_state(len(labels), rule.config.channels).to(own)
    seeds = torch.randint(2**62, (len(labels),), generator=generator)
    told = rule.genome(labels, style)
    ink = rule.rollout(state, told, rule.trained_steps, seeds)[-1, :, INK]
    return ink.reshape(n, count, -1).cpu(), ratio.cpu()


def log_likelihood(ink, images, slope, offset):
    """Bernoulli, in nats: ink `[N, K, P]`, images `[N, P]` -> `[N, K]`."""
    logits = slope * (ink.clamp(-0.5, 1.5) - offset)
    target = images[:, None].expand_as(ink)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return -loss.sum(-1)


def fit_squeeze(ink, images) -> tuple[float, float]:
    """The slope and offset that make validation digits most probable."""
    numbers = torch.tensor([6.0, 0.5], requires_grad=True)
    optimiser = torch.optim.LBFGS([numbers], max_iter=50)

    def closure():
        optimiser.zero_grad()
        loss = -log_likelihood(ink, images, numbers[0], numbers[1]).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return tuple(numbers.tolist())


@torch.no_grad()
def bounds(rule: NCA, digits: Pictures, slope: float, offset: float) -> tuple[float, float]:
    """The mean ELBO (one sample) and the importance-weighted bound, nats a picture."""
    one, many = [], []
    for first in range(0, len(digits), TOGETHER):
        part = digits.select(slice(first, first + TOGETHER))
        ink, ratio = draw(rule, part, SAMPLES, seed=first)
        log_weights = log_likelihood(ink, part.images.flatten(1), slope, offset) + ratio  # [n, K]
        one.append(log_weights.mean(1))
        many.append(log_weights.logsumexp(1) - math.log(SAMPLES))
    label = math.log(1 / 10)
    return torch.cat(one).mean().item() + label, torch.cat(many).mean().item() + label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root")
    parser.add_argument("--limit", type=int, default=10_000, help="test digits")
    parser.add_argument("--weights", default="unified")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    data, rule = open_digits(arguments.data_root), load(arguments.weights).to(arguments.device)
    known = binarise(data.validation.limit(200), seed=1)
    with torch.no_grad():
        ink, _ = draw(rule, known, 4, seed=1)
    slope, offset = fit_squeeze(ink, known.images.flatten(1))
    test = binarise(data.test).limit(arguments.limit)
    elbo, weighted = bounds(rule, test, slope, offset)
    results = rounded(
        {"elbo": elbo, "importance_weighted": weighted, "slope": slope, "offset": offset}
    )
    results |= {"samples": SAMPLES, "n": len(test), "weights": rule.record["sha256"]}
    print(results)
    (HERE / "results" / "elbo.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
