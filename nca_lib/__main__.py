"""`python -m nca_lib` and `nca`: signals are caught before anything heavy is imported."""

import os
import sys

from nca_lib.interrupts import end, handled_by


def main() -> None:
    """Every end but success is one line and an exit code, never a traceback."""
    with handled_by(end):
        for stream in (sys.stdout, sys.stderr):  # names of files that a terminal can't print
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        if os.environ.get("RANK", "0") not in ("0", ""):  # of torchrun's processes one speaks
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        from nca_lib.cli import run_command

        sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
