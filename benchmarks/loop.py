"""What does the training loop cost beside growing and learning? Prints JSON.

The real loop with its real settings, files and pictures; what is timed is wrapped, not changed.
"""

import json
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch

from nca_lib import training
from nca_lib.__main__ import painter
from nca_lib.data import load_digits
from nca_lib.presets import PRESETS
from nca_lib.pretraining import initial_rule

ITERATIONS = 250  # one checkpoint and one picture, as often as in any training
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
    training.draw_batch = timed("drawing the batch, pool", training.draw_batch)
    training.Pool.put = timed("filling the pool", training.Pool.put)
    training.Run.save = timed("checkpoint", training.Run.save)
    training.growth_losses = timed("losses, forward", training.growth_losses)
    training.Optimisers.step = timed("optimisers", training.Optimisers.step)
    rule = initial_rule(preset.rule, 0)
    with tempfile.TemporaryDirectory() as folder:
        outputs = training.Outputs(Path(folder), "loop")
        started = time.perf_counter()
        training.train(
            rule, data.train, config, outputs, progress=False,
            watch=timed("picture", painter(data, outputs.picture, config.steps)),
        )  # fmt: skip
        total = time.perf_counter() - started
    overhead = ("drawing the batch, pool", "filling the pool", "checkpoint", "picture")
    print(
        json.dumps(
            {
                "iterations": ITERATIONS,
                "milliseconds_an_iteration": total / ITERATIONS * 1e3,
                "shares": {name: value / total for name, value in seconds.items()},
                "overhead": sum(seconds[name] for name in overhead) / total,
            }
        )
    )


if __name__ == "__main__":
    main()
