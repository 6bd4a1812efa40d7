"""Put a trained rule into the package: `python tools/ship.py unified runs/unified.safetensors`.

The weights are rounded to half precision, and the record keeps how they were trained. With
`--data-root DIR` the Gaussian of its styles is fitted anew to the training digits there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nca_lib.checkpoints import RULE, SHIPPED, load, write_tensors
from nca_lib.data import load_digits

import torch

LIMIT = 300_000  # bytes: a rule is downloaded by everyone who clones the repository


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SHIPPED)
    parser.add_argument("path", type=Path)
    parser.add_argument("--data-root", help="fit styles anew to these training digits")
    arguments = parser.parse_args()
    name, path = arguments.name, arguments.path
    rule = load(path)
    if arguments.data_root:
        train = load_digits(arguments.data_root, "full").train
        known = torch.isin(train.labels, torch.tensor(rule.record["digits"]))
        rule.fit_styles(train.images[known], train.labels[known])
    record = {key: value for key, value in rule.record.items() if key != "sha256"}
    tensors = {key: value.half() for key, value in rule.state_dict().items()}
    out = Path(__file__).resolve().parents[1] / "nca_lib" / "weights" / f"{name}.safetensors"
    write_tensors(out, RULE, tensors, config=rule.settings(), record=record)
    assert out.stat().st_size <= LIMIT, f"{out} is larger than {LIMIT} bytes"
    print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
