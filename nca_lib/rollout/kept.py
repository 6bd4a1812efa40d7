"""The machine code of the compiled rollout, kept on disk from process to process.

The folder is named after the text of the sources, so a change of them is compiled anew. A damaged
file is compiled anew, too, and a folder that can't be written costs no more than the time for that.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from nca_lib.rollout import fire

import platformdirs
from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Where the machine code of exactly these sources is kept."""
    sources = Path(__file__).with_name("compiled.py"), Path(fire.__file__)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    own = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("nca_lib", False)
    return Path(own) / f"kernels-{digest}"


@lru_cache(maxsize=1)
def say_what_takes_so_long() -> None:
    """Once per process."""
    print("nca_lib: compiling the fast rollout, half a minute", file=sys.stderr, flush=True)


class Place:
    """Our folder, as numba asks for it (there it is a locator)."""

    @classmethod
    def from_function(cls, function, file) -> Place:
        return cls()

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def ensure_cache_path(self) -> None:
        cache_folder().mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        return cache_folder().name

    def get_disambiguator(self) -> str:
        return "kernel"


class Kept(CompileResultCacheImpl):
    _locator_classes = (Place,)


class KernelCache(FunctionCache):
    """numba's cache of one function, for all types of its arguments."""

    _impl_class = Kept

    def load_overload(self, sig, target_context):
        kept = None
        try:
            kept = super().load_overload(sig, target_context)
        except Exception as error:  # whatever is in the file
            warnings.warn(
                f"compiled kernels in {self.cache_path} are damaged ({type(error).__name__}): "
                "they are compiled anew",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip
            with suppress(OSError):
                self.flush()
        if kept is None:
            say_what_takes_so_long()
        return kept

    def save_overload(self, sig, data) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            warnings.warn(
                f"compiled kernels can't be kept in {self.cache_path} ({error.strerror}): every "
                "process compiles them anew. Make room, or name another folder in NUMBA_CACHE_DIR",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip


def kernel(function):
    """Compile a function that Python calls, and keep its machine code."""
    compiled = njit(nogil=True)(function)
    compiled._cache = KernelCache(function)
    return compiled


def is_kept() -> bool:
    """Whether there is machine code in the folder, for the next process to use."""
    return any(cache_folder().glob("*.nbc"))
