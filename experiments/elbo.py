"""How probable does the unified rule find the test digits? An importance-weighted bound, in nats.

The published yardstick are the variational NCAs of Palm et al. (2022), which bound log p(x) of
binarised MNIST with 128 samples (Burda et al., 2016). Here

    x   the test digits, binarised once: each pixel drawn with its grey value as probability
        (Salakhutdinov and Murray, 2008, by a seed of this file)
    y   the label, uniform over ten: its ln 10 nats are paid for
    z   the code, with the density that was fitted to the codes of the label's training digits
        (a Gaussian, bent by a flow) as prior p(z | y), and a Gaussian as proposal q(z | x, y)
    u   the fire masks: drawn from their own distribution, so they cancel from the weights
    p(x | y, z, u)  a coin for each pixel: the grown ink is a grey value, and a grey value is a
        probability, up to a slope and an offset of its logit

    log p(x) >= log 1/10 + log 1/K sum_k p(x | y, z_k, u_k) p(z_k | y) / q(z_k | x, y)

The bound holds for any proposal, and a bad one makes it loose. The encoder's is bad: in training
small variances cost next to nothing, so nearly all are as small as they may be. So a copy of the
encoder is trained further, with slope and offset, on the bound itself (K = 1) of training digits.
The rule and the prior stay as they are. The bound with the encoder as it was stands beside it.

    python experiments/elbo.py --data-root DIR
"""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path

from nca_lib import load
from nca_lib.cells import INK, seed_state
from nca_lib.dataset import Pictures
from nca_lib.genome import StyleCode
from nca_lib.rule import NCA

import torch
import torch.nn.functional as F
from common import HERE, open_digits, rounded, save_results
from torch import Tensor, nn

SAMPLES = 128
TOGETHER = 50  # pictures, each with its samples, in one rollout
PART = 1000  # pictures, after which results are written
AS_IT_WAS = 500  # test digits for the encoder as it was
SURE = 0.997  # no coin is surer than that
BATCH, CLIP = 16, 100.0  # pictures an iteration, and the longest gradient


class Proposal(nn.Module):
    """q(z | x, y), beginning as the rule's encoder, and the coin of a grey value."""

    def __init__(self, rule: NCA, wider: float = 1.0):
        super().__init__()
        self.encoder = copy.deepcopy(rule.encoder).requires_grad_(True)
        self.wider = nn.Parameter(torch.full((rule.encoder.style_dim,), 2 * math.log(wider)))
        self.coin = nn.Parameter(torch.tensor([1.0, 0.0]))  # slope, offset

    def forward(self, digits: Pictures) -> StyleCode:
        code = self.encoder(digits.images.to(self.wider), digits.labels.to(self.wider.device))
        return StyleCode(code.mean, code.log_variance + self.wider)

    def log_likelihood(self, ink: Tensor, images: Tensor) -> Tensor:
        """Of the coins, in nats: ink `[N, K, P]`, images `[N, P]` -> `[N, K]`."""
        logits = self.coin[0] * ink.clamp(1 - SURE, SURE).logit() + self.coin[1]
        target = images.to(ink)[:, None].expand_as(ink)
        return -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)


def binarise(digits: Pictures, generator: torch.Generator) -> Pictures:
    noise = torch.rand(digits.images.shape, generator=generator)
    return Pictures((noise < digits.images).float(), digits.labels)


def log_prior(rule: NCA, code: Tensor, labels: Tensor) -> Tensor:
    """log p(z | y) in nats, `[N]`: codes `[N, S]`, labels `[N]`."""
    genome = rule.genome
    inside = genome.flow.log_density(genome.centred(code, labels), labels)
    return inside - genome.spread.diagonal(dim1=1, dim2=2).log().sum(1)[labels]


def log_weights(rule: NCA, proposal: Proposal, digits: Pictures, count: int, seed: int) -> Tensor:
    """log p(x | y, z, u) p(z | y) / q(z | x, y) in nats of `count` codes a picture, `[N, K]`."""
    generator, own = torch.Generator().manual_seed(seed), rule.kernels
    mean, log_variance = proposal(digits)  # [N, S]
    n, length = mean.shape
    noise = torch.randn(n, count, length, generator=generator).to(own)
    code = mean[:, None] + noise * (0.5 * log_variance).exp()[:, None]  # [N, K, S]
    labels = digits.labels.repeat_interleave(count).to(own.device)  # [N * K]
    prior = log_prior(rule, code.flatten(0, 1), labels).view(n, count)
    proposed = -0.5 * (noise.square() + log_variance[:, None] + math.log(2 * math.pi)).sum(2)
    told = rule.genome(labels, rule.genome.style_of(code.flatten(0, 1), labels))
    seeds = torch.randint(2**62, (len(labels),), generator=generator)
    state = seed_state(len(labels), rule.config.channels).to(own)
    ink = rule.rollout(state, told, rule.trained_steps, seeds)[-1, :, INK].reshape(n, count, -1)
    return proposal.log_likelihood(ink, digits.images.flatten(1)) + prior - proposed  # [N, K]


def fit(rule: NCA, proposal: Proposal, train: Pictures, iterations: int) -> None:
    """Train the proposal and its coin on the ELBO. The rule learns nothing."""
    groups = [
        {"params": list(proposal.encoder.parameters()), "lr": 2e-4},
        {"params": [proposal.wider], "lr": 2e-2},
        {"params": [proposal.coin], "lr": 1e-2},
    ]
    optimiser, generator = torch.optim.Adam(groups), torch.Generator().manual_seed(5)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, max(1, iterations))
    recent = []
    for iteration in range(1, iterations + 1):
        pick = torch.randint(len(train), (BATCH,), generator=generator)
        part = binarise(train.select(pick), generator)
        loss = -log_weights(rule, proposal, part, 1, seed=iteration).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(proposal.parameters(), CLIP)
        optimiser.step()
        decay.step()
        recent = [*recent[-99:], loss.item()]
        if iteration % 100 == 0:
            mean = -sum(recent) / len(recent) - math.log(10)
            print(f"iteration {iteration}: ELBO {mean:.1f}", flush=True)


@torch.no_grad()
def bounds(rule: NCA, proposal: Proposal, digits: Pictures, seed: int = 0) -> Tensor:
    """ELBO (one sample) and importance-weighted bound of each picture in nats, `[N, 2]`."""
    found = []
    for first in range(0, len(digits), TOGETHER):
        part = digits.select(slice(first, first + TOGETHER))
        weights = log_weights(rule, proposal, part, SAMPLES, seed + first).cpu()  # [n, K]
        tight = weights.logsumexp(1) - math.log(SAMPLES)
        found.append(torch.stack([weights.mean(1), tight], 1) - math.log(10))
    return torch.cat(found)


def summary(found: Tensor) -> dict[str, float]:
    """Means over the pictures."""
    elbo, tight = found.double().mean(0).tolist()
    return rounded({"elbo": elbo, "importance_weighted": tight}) | {"n": len(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root")
    parser.add_argument("--limit", type=int, default=10_000, help="test digits")
    parser.add_argument("--iterations", type=int, default=600, help="of the proposal's training")
    parser.add_argument("--weights", default="unified")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    data = open_digits(arguments.data_root)
    rule = load(arguments.weights).to(arguments.device).requires_grad_(False)
    test = binarise(data.test, torch.Generator().manual_seed(0)).limit(arguments.limit)
    same = {"samples": SAMPLES, "weights": rule.record["sha256"]}
    as_it_was = bounds(rule, Proposal(rule).to(rule.kernels), test.limit(AS_IT_WAS))
    same["encoder_as_it_was"] = summary(as_it_was)
    print(same, flush=True)
    proposal = Proposal(rule, wider=3.0).to(rule.kernels)
    fit(rule, proposal, data.train, arguments.iterations)
    same |= rounded(dict(zip(("slope", "offset"), proposal.coin.tolist(), strict=True)))
    found = torch.zeros(0, 2)
    for first in range(0, len(test), PART):
        part = test.select(slice(first, first + PART))
        found = torch.cat([found, bounds(rule, proposal, part, first)])
        results = summary(found) | same  # of as many as are done
        print(results, flush=True)
        save_results(results, arguments.results / "elbo.json")


if __name__ == "__main__":
    main()
