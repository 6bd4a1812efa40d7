"""What does the training loop cost beside growing and learning? Prints JSON.

The real loop with its real settings, files and pictures; what is timed is wrapped, not changed.
"""

import json
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from nca_lib.data import load_digits
from nca_lib.report import painter
from nca_lib.training import Outputs, batch, loop, train
from nca_lib.training.optimisers import Optimisers
from nca_lib.training.pool import Pool
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretraining import initial_rule
from nca_lib.training.run import Run

import torch

ITERATIONS = 250  # one checkpoint and one picture, as often as in any training
TIMED = [  # where it is looked up, its name, whether it is neither growing nor learning
    (loop, "draw_batch", "drawing the batch, pool", True),
    (Pool, "put", "filling the pool", True),
    (Run, "save", "checkpoint", True),
    (batch, "growth_losses", "losses, forward", False),
    (Optimisers, "step", "optimisers", False),
]
seconds = defaultdict(float)


def timed(name, function):
    def wrapper(*args, **kwargs):
        started = time.perf_counter()
        result = function(*args, **kwargs)
        seconds[name] += time.perf_counter() - started
        return result

    return wrapper


def main() -> None:
    torch.set_num_threads(1)
    data, preset = load_digits("embedded"), PRESETS["quick"]
    config = replace(preset.finetune, iterations=ITERATIONS)
    for owner, function, name, _ in TIMED:
        setattr(owner, function, timed(name, getattr(owner, function)))
    rule = initial_rule(preset.rule, 0)
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(Path(folder), "loop")
        watch = timed("picture", painter(data, outputs.picture, config.steps))
        started = time.perf_counter()
        train(rule, data.train, config, outputs, progress=False, watch=watch)
        total = time.perf_counter() - started
    overhead = ["picture", *(name for *_, name, beside in TIMED if beside)]
    result = {
        "iterations": ITERATIONS,
        "milliseconds_an_iteration": total / ITERATIONS * 1e3,
        "shares": {name: value / total for name, value in seconds.items()},
        "overhead": sum(seconds[name] for name in overhead) / total,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
