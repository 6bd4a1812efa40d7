"""neural-ca (Koltugin) on the reference work, in the peers' virtual environment.

It gathers neighbourhoods and leaves the rest to its user: the Sobel filters are the first layer of
the network that it is given, and the fire mask and the alive mask stand here. What differs: no
condition.
"""

import torch
import torch.nn.functional as F
from nca import NCA
from pipe import measure, serve
from reference import CHANNELS, FAINT, FIRE_RATE, HIDDEN, LOSS_STEPS, STEPS, disc

ALIVE = 1  # channel


class Network(torch.nn.Module):
    """Nine neighbours -> itself and two slopes -> hidden -> change, `[..., 9C]` -> `[..., C]`."""

    def __init__(self, offsets):
        super().__init__()
        rows = [[float(o == (0, 0)), x * (2 - abs(y)) / 8, y * (2 - abs(x)) / 8]
                for o in offsets for y, x in [o]]  # fmt: skip
        self.register_buffer("filters", torch.tensor(rows))  # [9, 3]
        self.hidden = torch.nn.Linear(3 * CHANNELS, HIDDEN)
        self.update = torch.nn.Linear(HIDDEN, CHANNELS, bias=False)
        torch.nn.init.normal_(self.update.weight, std=FAINT)

    def forward(self, nine):
        seen = nine.unflatten(-1, (CHANNELS, len(self.filters))) @ self.filters  # [..., C, 3]
        return self.update(F.relu(self.hidden(seen.flatten(-2))))


torch.set_num_threads(1)
torch.manual_seed(0)
nca = NCA("moore", channels=CHANNELS)
network = Network(nca.offsets)


def alive(state):
    return F.max_pool2d(state[:, ALIVE : ALIVE + 1], 3, stride=1, padding=1) > 0.1


def step(state):
    before = alive(state)
    fire = torch.rand(len(state), 1, *state.shape[2:]) < FIRE_RATE
    state = state + nca.process(network, state) * (before & fire)
    return state * (before & alive(state))


def answer(job: dict) -> dict:
    start = torch.tensor(disc()).float().repeat(job["batch"], CHANNELS, 1, 1)
    start[:, :ALIVE] = 0

    def training():
        network.zero_grad()
        state, loss = start, 0.0
        for t in range(STEPS):
            state = step(state)
            if t + 1 in LOSS_STEPS:
                loss = loss + state[:, :2].square().mean() / len(LOSS_STEPS)
        loss.backward()

    def rollout():
        with torch.no_grad():
            state = start
            for _ in range(STEPS):
                state = step(state)

    return measure(training if job["what"] == "training" else rollout, job)


serve(answer)
