"""nca_lib: one small local rule grows handwritten digits, cell by cell.

`import nca_lib as nca` is all that most people need. Names load when they are first used, so that
importing the package is quick and imports no PyTorch.
"""

from importlib import import_module

__version__ = "0.2.0"

PUBLIC = {  # name: the module that it lives in
    "NCA": "model",
    "ModelConfig": "model",
    "ImageSpec": "spec",
    "InputError": "inputs",
    "load": "checkpoint",
    "mnist": "data",
    "fashion": "data",
    "read_images": "data",
    "from_torchvision": "data",
    "read_digit": "data",
    "train": "training",
    "TrainingConfig": "training",
    "evaluate": "evaluation",
    "show": "visual",
    "save_gif": "visual",
}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str):
    if name in PUBLIC:
        return getattr(import_module(f"nca_lib.{PUBLIC[name]}"), name)
    raise AttributeError(f"module 'nca_lib' has no attribute {name!r}; it has {', '.join(PUBLIC)}")


def __dir__() -> list[str]:
    return sorted(__all__)
