"""nca_lib: one small local rule grows handwritten digits, cell by cell."""

import os

# PyTorch's OpenMP threads spin while they wait, on the cores that the compiled rollout computes on:
# training was ten times slower. This has to be said before PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str):
    """`nca_lib.load`, without PyTorch being imported before it is wanted."""
    if name == "load":
        from nca_lib.checkpoints import load

        return load
    raise AttributeError(f"module 'nca_lib' has no attribute {name!r}")
