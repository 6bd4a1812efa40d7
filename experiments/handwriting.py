"""Own handwriting: how many photo-like pictures are read, refused, or warned of.

The pictures are drawn by `tests/drawings.py` from test digits of the embedded sample, with a seed
of their own. The preparation was chosen with a different seed and validation digits; the limits of
the warning about labels were chosen while looking at these test digits.

python experiments/handwriting.py    # 20 pictures of each scene: some minutes
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from nca_lib import load
from nca_lib.classifier import load_classifier
from nca_lib.data import mnist
from nca_lib.data.handwriting import label_warning, prepare
from nca_lib.inputs import InputError

import numpy as np
import torch
from common import HERE, save_results

sys.path.insert(0, str(HERE.parent / "tests"))
import drawings


def outcome(image, label: int | None, rng, model, classifier) -> Counter:
    """What becomes of one picture; one without a digit is given a random label."""
    try:
        picture, _ = prepare(image)
    except InputError as error:
        return Counter(n=1, refused=1, several=int(str(error).startswith("several")))
    if label is None:
        return Counter(
            n=1, warned=label_warning(classifier, picture, int(rng.integers(10))) is not None
        )
    grown = model.redraw(picture, label)[-1, :, :1].clamp(0, 1)
    wrong = [label_warning(classifier, picture, other) for other in range(10) if other != label]
    return Counter(
        n=1,
        read=int(classifier(picture[None]).argmax()) == label,
        regrown=int(classifier(grown).argmax()) == label,
        false_alarm=label_warning(classifier, picture, label) is not None,
        wrong_labels=len(wrong),
        wrong_warned=sum(warning is not None for warning in wrong),
    )


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20, help="of each scene")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    model, classifier, digits = load("unified"), load_classifier(), mnist("embedded").test
    table = {}
    for kind, scenes in drawings.SCENES.items():
        total = Counter()
        for index, scene in enumerate(scenes):
            row = Counter()
            for turn in range(options.pictures):
                rng = np.random.default_rng([options.seed, len(kind), index, turn])
                row += outcome(*scene(rng, digits), rng, model, classifier)
            name = "squared_photo" if scene.__name__ == "<lambda>" else scene.__name__
            table[f"{kind}: {name}"] = dict(row)
            total += row
        table[kind] = dict(total)
    for name, row in table.items():
        print(f"{name:28}", "  ".join(f"{key} {value}" for key, value in row.items()))
    results = {"seed": options.seed, "pictures_of_each_scene": options.pictures, "counts": table}
    save_results(results, options.results / "handwriting.json")


if __name__ == "__main__":
    main()
