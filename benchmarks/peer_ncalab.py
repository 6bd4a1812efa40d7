"""NCALab (Krumb et al., TU Darmstadt) on the reference work, in the peers' virtual environment.

Its `GrowingNCAModel` as it is. What differs: no condition; the alive mask is taken once a step,
after the change, where ours is taken before and after.

The packages on PyPI lack `ncalab.models` and cannot be imported: this wants the sources next
to this file, see README.md.
"""

import sys

from pipe import HERE, measure, serve

sys.path.insert(0, str(HERE / "NCALab"))
import torch
from ncalab import GrowingNCAModel
from reference import CHANNELS, FAINT, FIRE_RATE, HIDDEN, LOSS_STEPS, STEPS, disc

torch.set_num_threads(1)
torch.manual_seed(0)
ALIVE = 3  # channel
model = GrowingNCAModel(
    torch.device("cpu"), CHANNELS - 4, FIRE_RATE, HIDDEN, use_alive_mask=True
)  # four channels are RGBA, Sobel is the default
torch.nn.init.normal_(model.rule.network[-1].weight, std=FAINT)


def answer(job: dict) -> dict:
    state = torch.tensor(disc()).float().repeat(job["batch"], CHANNELS, 1, 1)
    state[:, :ALIVE] = 0

    def training():
        model.zero_grad()
        grown, done, loss = state, 0, 0.0
        for step in LOSS_STEPS:
            grown = model(grown, steps=step - done).output_image
            loss, done = loss + grown[:, :2].square().mean() / len(LOSS_STEPS), step
        loss.backward()

    def rollout():
        with torch.no_grad():
            model(state, steps=STEPS)

    return measure(training if job["what"] == "training" else rollout, job)


serve(answer)
