"""`python -m nca_lib` and `nca`: signals are caught before anything heavy is imported."""

import os
import sys

from nca_lib.interrupts import end, handled_by


def main() -> None:
    """Every end but success is one line and an exit code, never a traceback."""
    # PyTorch's threads shall sleep while they wait: they spin on the cores that the compiled
    # rollout computes on, and training is ten times slower. It is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with handled_by(end):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.reconfigure(errors="replace")  # names of files that a terminal can't print
        if sys.stdout is None or os.environ.get("RANK", "0") not in ("0", ""):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  of torchrun's processes one speaks
        from nca_lib.cli import run_command

        sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
