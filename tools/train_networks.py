"""Train a network that is no automaton: a classifier, or the convolutional decoder.

    python tools/train_networks.py classifier --data fashion --out runs/classifier.safetensors

`nca evaluate --classifier FILE` and `--perceptual FILE` of the training commands use a classifier,
for pictures other than MNIST's digits. The decoder is the baseline of an evaluation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nca_lib import classifier
from nca_lib.data import load_data
from nca_lib.evaluation.decoder import save_decoder, train_decoder
from nca_lib.evaluation.metrics import pixel_accuracy
from nca_lib.training.presets import PRESETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=["classifier", "decoder"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="mnist", help="mnist, fashion, kmnist, letters, pictures")
    parser.add_argument("--data-root", help="as nca's")
    parser.add_argument("--preset", choices=["quick", "full"], default="quick")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = load_data(given.data, given.data_root, given.preset)
    if given.network == "classifier":
        network, metadata = classifier.train_classifier(data, given.epochs, given.seed)
        classifier.save_network(given.out, classifier.KIND, network, metadata)
        result = f"classifies {metadata['test_accuracy']:.2%} of the test pictures correctly"
    else:
        full = PRESETS["full"]
        style_dim, kl_weight = full.model.style_dim, full.finetune.kl_weight
        network, metadata = train_decoder(data, style_dim, kl_weight, given.epochs, given.seed)
        save_decoder(given.out, network, metadata)
        right = pixel_accuracy(network.redraw(data.test), data.test.images)
        result = f"redraws {right:.2%} of the test pixels correctly"
    print(f"{result} -> {given.out}")


if __name__ == "__main__":
    main()
