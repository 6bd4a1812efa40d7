"""How probable are the test digits under the unified model? An importance-weighted bound, in nats.

The published yardstick is the variational NCA of Palm et al. (2022), which bounds log p(x) of
binarised MNIST with 128 samples (Burda et al., 2016). Here

    x   the test digits, binarised once: each pixel drawn with its grey value as probability
        (Salakhutdinov and Murray, 2008, by a seed of this file)
    y   the label, uniform over ten: the bound includes its ln 10 nats
    z   the code; the prior p(z | y) is the Gaussian fitted to the codes of the label's training
        digits, and the proposal q(z | x, y) a Gaussian per picture
    u   the fire masks: drawn from their own distribution, so they cancel from the weights
    p(x | y, z, u)  a coin for each pixel: the grown ink is a grey value, and a grey value is a
        probability, up to a slope and an offset of its logit

    log p(x) >= log 1/10 + log 1/K sum_k p(x | y, z_k, u_k) p(z_k | y) / q(z_k | x, y)

The bound holds for any proposal, and a bad one makes it loose. The encoder is a bad one: training
hardly rewards large variances, so nearly all are as small as they may be. So a copy of the encoder
is trained further, with slope and offset, on the bound itself (K = 1) of training digits. Model and
prior stay as they are. The results include the bound with the unchanged encoder.

    python experiments/elbo.py --data-root DIR
"""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path

from nca_lib import load
from nca_lib.conditioning import StyleCode
from nca_lib.data import Pictures
from nca_lib.model import NCA

import torch
import torch.nn.functional as F
from common import HERE, open_digits, rounded, save_results
from torch import Tensor, nn

SAMPLES = 128
TOGETHER = 50  # pictures of one rollout, each with its samples
PART = 1000  # pictures, after which results are written
UNCHANGED = 500  # test digits for the unchanged encoder
SURE = 0.997  # no coin is surer than that
BATCH, CLIP = 16, 100.0  # pictures per iteration, and the longest gradient


class Proposal(nn.Module):
    """q(z | x, y), initially the model's encoder, and the coin of a grey value."""

    def __init__(self, model: NCA, wider: float = 1.0):
        super().__init__()
        self.encoder = copy.deepcopy(model.encoder).requires_grad_(True)
        self.wider = nn.Parameter(torch.full((model.encoder.style_dim,), 2 * math.log(wider)))
        self.coin = nn.Parameter(torch.tensor([1.0, 0.0]))  # slope, offset

    def forward(self, pictures: Pictures) -> StyleCode:
        code = self.encoder(pictures.images.to(self.wider), pictures.labels.to(self.wider.device))
        return StyleCode(code.mean, code.log_variance + self.wider)

    def log_likelihood(self, ink: Tensor, images: Tensor) -> Tensor:
        """Of the coins, in nats: ink `[N, K, P]`, images `[N, P]` -> `[N, K]`."""
        logits = self.coin[0] * ink.clamp(1 - SURE, SURE).logit() + self.coin[1]
        target = images.to(ink)[:, None].expand_as(ink)
        return -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)


def binarise(pictures: Pictures, generator: torch.Generator) -> Pictures:
    noise = torch.rand(pictures.images.shape, generator=generator)
    return Pictures((noise < pictures.images).float(), pictures.labels)


def log_prior(model: NCA, code: Tensor, labels: Tensor) -> Tensor:
    """log p(z | y) in nats, `[N]`: codes `[N, S]`, labels `[N]`."""
    mean, scale_tril = model.conditioning.mean[labels], model.conditioning.scale_tril[labels]
    return torch.distributions.MultivariateNormal(mean, scale_tril=scale_tril).log_prob(code)


def log_weights(
    model: NCA, proposal: Proposal, pictures: Pictures, count: int, seed: int
) -> Tensor:
    """log p(x | y, z, u) p(z | y) / q(z | x, y) in nats of `count` codes per picture, `[N, K]`."""
    generator, own = torch.Generator().manual_seed(seed), model.kernels
    mean, log_variance = proposal(pictures)  # [N, S]
    n, length = mean.shape
    noise = torch.randn(n, count, length, generator=generator).to(own)
    code = mean[:, None] + noise * (0.5 * log_variance).exp()[:, None]  # [N, K, S]
    labels = pictures.labels.repeat_interleave(count).to(own.device)  # [N * K]
    prior = log_prior(model, code.flatten(0, 1), labels).view(n, count)
    proposed = -0.5 * (noise.square() + log_variance[:, None] + math.log(2 * math.pi)).sum(2)
    style = model.conditioning.style_of(code.flatten(0, 1), labels)
    seeds = torch.randint(2**62, (len(labels),), generator=generator)
    condition, state = model.condition(labels, style), model.seed(len(labels))
    ink = model(state, condition, rng_seeds=seeds)[:, : model.spec.channels].reshape(n, count, -1)
    return proposal.log_likelihood(ink, pictures.images.flatten(1)) + prior - proposed  # [N, K]


def fit(model: NCA, proposal: Proposal, train: Pictures, iterations: int) -> None:
    """Train the proposal and its coin on the ELBO. The model learns nothing."""
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
        loss = -log_weights(model, proposal, part, 1, seed=iteration).mean()
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
def bounds(model: NCA, proposal: Proposal, pictures: Pictures, seed: int = 0) -> Tensor:
    """ELBO (one sample) and importance-weighted bound of each picture in nats, `[N, 2]`."""
    found = []
    for first in range(0, len(pictures), TOGETHER):
        part = pictures.select(slice(first, first + TOGETHER))
        weights = log_weights(model, proposal, part, SAMPLES, seed + first).cpu()  # [n, K]
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
    model = load(arguments.weights).to(arguments.device).requires_grad_(False)
    test = binarise(data.test, torch.Generator().manual_seed(0)).limit(arguments.limit)
    same = {"samples": SAMPLES, "weights": model.metadata["sha256"]}
    unchanged = bounds(model, Proposal(model).to(model.kernels), test.limit(UNCHANGED))
    same["encoder_unchanged"] = summary(unchanged)
    print(same, flush=True)
    proposal = Proposal(model, wider=3.0).to(model.kernels)
    fit(model, proposal, data.train, arguments.iterations)
    same |= rounded(dict(zip(("slope", "offset"), proposal.coin.tolist(), strict=True)))
    found = torch.zeros(0, 2)
    for first in range(0, len(test), PART):
        part = test.select(slice(first, first + PART))
        found = torch.cat([found, bounds(model, proposal, part, first)])
        results = summary(found) | same  # of the pictures done so far
        print(results, flush=True)
        save_results(results, arguments.results / "elbo.json")


if __name__ == "__main__":
    main()
