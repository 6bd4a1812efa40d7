"""Replace a folder that a tool made before, and never one that holds anybody else's files."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

LIST = ".made-by-nca_lib"  # inside the folder: the files that a tool wrote there, and their hashes


def files_in(folder: Path) -> set[str]:
    """A line for each file: its hash and its place; of links and what can't be read, the place."""
    found = set()
    for path in folder.rglob("*"):
        plain = path.is_file() and not path.is_symlink()
        if plain or path.is_symlink() or not path.is_dir():
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if plain else "no file:"
            found.add(f"{digest} {path.relative_to(folder).as_posix()}")
    return found


def replace_folder(made: Path, out: Path) -> None:
    """Put a copy of the folder `made` in the place of `out`.

    Exits with a message if `out` is a link, holds files that no earlier call wrote or that somebody
    changed since, or can't be written.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        sys.exit(f"{out} is no folder: choose another --out")
    record = out / LIST
    known = set(record.read_text("utf-8", "replace").splitlines()) if record.is_file() else set()
    found = files_in(out) if out.is_dir() else set()
    strange = sorted(line.partition(" ")[2] for line in found - known)
    strange = [name for name in strange if name != LIST]
    if strange:
        sys.exit(
            f"{out} holds {strange[0]}, which this tool did not make or somebody changed: choose "
            "another --out"
        )
    try:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        record.write_text("\n".join(sorted(files_in(made))) + "\n", encoding="utf-8")
        shutil.copytree(made, out, dirs_exist_ok=True)
    except OSError as error:  # shutil.Error is one
        sys.exit(f"can't write {out} ({error.strerror or 'see its disk'}): choose another --out")
