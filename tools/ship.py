"""Put a trained rule into the package: `python tools/ship.py unified runs/unified.safetensors`.

The weights are rounded to half precision, and the record keeps how they were trained.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nca_lib.checkpoints import RULE, SHIPPED, load, write_tensors

LIMIT = 300_000  # bytes: a rule is downloaded by everyone who clones the repository


def main() -> None:
    name, path = sys.argv[1], Path(sys.argv[2])
    assert name in SHIPPED, f"{name} is none of {SHIPPED}"
    rule = load(path)
    record = {key: value for key, value in rule.record.items() if key != "sha256"}
    record["source"] = record["source"].split(" in ")[0]  # not where this machine keeps the digits
    tensors = {key: value.half() for key, value in rule.state_dict().items()}
    out = Path(__file__).resolve().parents[1] / "nca_lib" / "weights" / f"{name}.safetensors"
    write_tensors(out, RULE, tensors, config=rule.settings(), record=record)
    assert out.stat().st_size <= LIMIT, f"{out} is larger than {LIMIT} bytes"
    print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
