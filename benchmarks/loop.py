"""What does the training loop cost, apart from growing and learning? Prints JSON.

The real loop with its real settings, files and pictures; the timed functions are wrapped.
"""

import json
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from nca_lib.data import mnist
from nca_lib.evaluation.report import progress_callback
from nca_lib.training import Outputs, loop, train
from nca_lib.training.optimisers import Optimisers
from nca_lib.training.pool import Pool
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretrain import initial_model
from nca_lib.training.run import Run

import torch

ITERATIONS, PICTURES = 250, 250  # one checkpoint and one picture
TIMED = [  # where it is looked up, its name, whether it is neither growing nor learning
    (loop, "draw_batch", "drawing the batch, pool", True),
    (Pool, "put", "filling the pool", True),
    (Run, "save", "checkpoint", True),
    (Run, "losses", "losses, forward", False),
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
    data, preset = mnist("embedded"), PRESETS["quick"]
    config = replace(preset.finetune, iterations=ITERATIONS)
    for owner, function, name, _ in TIMED:
        setattr(owner, function, timed(name, getattr(owner, function)))
    model = initial_model(data.spec, preset.model, 0)
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(Path(folder), "loop")
        draw = timed("picture", progress_callback(data, outputs.picture))
        started = time.perf_counter()
        options = {"callbacks": draw, "log_every": PICTURES, "progress": False}
        train(model, data, config, outputs, **options)
        total = time.perf_counter() - started
    overhead = ["picture", *(name for *_, name, apart in TIMED if apart)]
    result = {
        "iterations": ITERATIONS,
        "batch_size": config.batch_size,
        "milliseconds_an_iteration": total / ITERATIONS * 1e3,
        "shares": {name: value / total for name, value in seconds.items()},
        "overhead": sum(seconds[name] for name in overhead) / total,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
