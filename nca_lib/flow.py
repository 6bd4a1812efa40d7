"""From styles to codes: a small normalising flow, fitted to the codes of the training pictures.

The codes of real pictures fill no Gaussian, and a code from where none lie grows into a picture
that nobody draws. A flow bends `N(0, I)` until it covers what is there (Dinh et al., 2017, "Density
estimation using Real NVP"): a stack of affine couplings, each of which scales and shifts one half
of the numbers by what the other half and the label say. Every coupling can be undone exactly, so a
style leads to one code and a code to one style.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 6
HIDDEN = 48
STRETCH = 1.5  # a coupling scales by exp(-1.5) to exp(1.5)
RATE = 4e-3  # highest learning rate of the fit
# A density is fitted to all codes, the strangest too, and what is drawn from its edges is strange.
# So styles reach only so far (the "temperature" of Kingma and Dhariwal, 2018, "Glow", section 6):
# at 0.75 the judge reads 99.1 % of the drawn digits, at 1 96.0, at the price of three points of
# coverage. experiments/controls.py, which also shows that Gaussians of the same width draw as well.
WIDTH = 0.75


class Flow(nn.Module):
    """`[B, S]` and labels `[B]` to `[B, S]`, and back; one that was not fitted changes nothing.

    Args:
        length: S, of a style.
        classes: how many labels there are.
    """

    def __init__(self, length: int, classes: int):
        super().__init__()
        self.half = length // 2  # numbers that stay; the others are scaled and shifted
        told, moved = self.half + classes, length - self.half
        generator = torch.Generator().manual_seed(0)
        pairs = [torch.randperm(length, generator=generator) for _ in range(-(-LAYERS // 2))]
        orders = [order for forth in pairs for order in (forth, forth.flip(0))]  # so that all move
        self.register_buffer("orders", torch.stack(orders[:LAYERS]))  # [K, S]: who stays, moves
        self.register_buffer("first", torch.empty(LAYERS, HIDDEN, told))  # [K, D, S // 2 + L]
        self.register_buffer("bias", torch.zeros(LAYERS, HIDDEN))
        self.register_buffer("last", torch.zeros(LAYERS, 2 * moved, HIDDEN))
        self.register_buffer("offset", torch.zeros(LAYERS, 2 * moved))
        self.register_buffer("width", torch.ones(()))  # of what styles reach, in the fitted density
        self.forget()

    @property
    def weights(self) -> list[Tensor]:
        """What is fitted."""
        return [self.first, self.bias, self.last, self.offset]

    def forget(self) -> None:
        """Be as fresh from the constructor."""
        noise = torch.randn(self.first.shape, generator=torch.Generator().manual_seed(1))
        self.first.copy_(noise / math.sqrt(self.half + 1))
        self.bias.zero_()
        self.last.zero_()
        self.offset.zero_()
        self.width.fill_(1.0)

    def coupling(self, k: int, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which numbers move, and the logarithm of their scale and their shift, `[B, moved]`."""
        stay, move = self.orders[k].split([self.half, x.shape[1] - self.half])
        seen, of_label = self.first[k].split([self.half, self.first.shape[2] - self.half], 1)
        hidden = F.relu(x[:, stay] @ seen.T + of_label.T[labels] + self.bias[k])  # [B, D]
        scale, shift = (hidden @ self.last[k].T + self.offset[k]).chunk(2, 1)
        return move, STRETCH * torch.tanh(scale / STRETCH), shift

    def forward(self, style: Tensor, labels: Tensor) -> Tensor:
        """Styles `[B, S]`, labels `[B]` -> `[B, S]`."""
        x = style * self.width
        for k in range(len(self.orders)):
            move, scale, shift = self.coupling(k, x, labels)
            x = x.index_copy(1, move, x[:, move] * scale.exp() + shift)
        return x

    def inverse(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `forward`: styles `[B, S]`, and the logarithm of the change of volume, `[B]`."""
        volume = x.new_zeros(len(x)) - x.shape[1] * self.width.log()
        for k in reversed(range(len(self.orders))):
            move, scale, shift = self.coupling(k, x, labels)
            x = x.index_copy(1, move, (x[:, move] - shift) * (-scale).exp())
            volume = volume - scale.sum(1)
        return x / self.width, volume

    def log_density(self, x: Tensor, labels: Tensor) -> Tensor:
        """The density that was fitted, in nats, `[B]`: of `forward(N(0, I))` at a width of 1."""
        style, volume = self.inverse(x, labels)
        size, normal = x.shape[1], style * self.width
        volume = volume + size * self.width.log()
        return volume - 0.5 * (normal.square().sum(1) + size * math.log(2 * math.pi))

    def fit(self, draw: Callable[[], tuple[Tensor, Tensor]], iterations: int) -> None:
        """Make probable what `draw` gives: batches of `x` `[B, S]` and their labels.

        From then on styles reach `WIDTH` of the density's width.
        """
        self.width.fill_(1.0)
        optimiser = torch.optim.Adam([w.requires_grad_() for w in self.weights], lr=RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, iterations)
        with torch.enable_grad():
            for _ in range(iterations):
                optimiser.zero_grad()
                (-self.log_density(*draw()).mean()).backward()
                nn.utils.clip_grad_norm_(self.weights, 1.0)
                optimiser.step()
                schedule.step()
        for weight in self.weights:
            weight.requires_grad_(False)
            weight.grad = None
        self.width.fill_(WIDTH)
