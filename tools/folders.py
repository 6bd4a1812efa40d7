"""Replace a folder that a tool made before, and never one that holds anybody else's files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

LIST = ".made-by-nca_lib"  # inside the folder: the files that a tool wrote there


def files_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def replace_folder(made: Path, out: Path) -> None:
    """Put a copy of the folder `made` in the place of `out`.

    Exits with a message if `out` is a link or holds files that no earlier call wrote.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        sys.exit(f"{out} is no folder: choose another --out")
    record = out / LIST
    known = set(record.read_text("utf-8", "replace").splitlines()) if record.is_file() else set()
    strange = sorted(files_in(out) - known - {LIST}) if out.is_dir() else []
    if strange:
        sys.exit(f"{out} holds {strange[0]}, which this tool did not make: choose another --out")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made, out)
    record.write_text("\n".join(sorted(files_in(made))) + "\n", encoding="utf-8")
