"""Checkpoints: safetensors with everything needed to use them in the metadata.

Nothing is ever unpickled. A file is written under a temporary name and then renamed, so that a
full disk or a power cut never costs what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nca_lib.errors import InputError
from nca_lib.rule import NCA, RuleConfig

VERSION = 1  # of the layout of rule files; raised when old files can no longer be read
RULE, RUN = "nca_lib rule", "nca_lib run"
SHIPPED = ("unified", "restore", *(f"digit-{d}" for d in range(10)))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that `path` holds either the old content or all of the new.

    Raises:
        InputError: the folder can't be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if path.parent.is_dir() else None
        raise InputError(
            f"can't write {path}: {error.strerror or error}; nothing that was there is lost. "
            "Make room or choose another --out"
        ) from error


def write_tensors(path: Path, kind: str, tensors: dict[str, Tensor], **metadata) -> None:
    """Write a safetensors file; `metadata` holds plain values, stored as JSON."""
    header = {"kind": kind, "version": str(VERSION)}
    header |= {key: json.dumps(value) for key, value in metadata.items()}
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomically(path, save(contiguous, header))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read a file of `write_tensors`, checked as far as that goes without knowing the rule.

    Raises:
        InputError: missing, truncated, a pickle, another kind or version of file, or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: train one, or give the name of a shipped rule")
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise InputError(f"{path} is a pickle, which could run any code: nca_lib reads safetensors")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or no safetensors file ({error})") from error
    if header.get("kind") != kind:
        found = header.get("kind", "something else")
        raise InputError(f"{path} holds {found!r}, wanted was {kind!r}: give another file")
    if header.get("version") != str(VERSION):
        raise InputError(
            f"{path} has version {header.get('version')}, this nca_lib reads version {VERSION}: "
            "install the nca_lib that wrote it, or train it again"
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path}: tensor {name!r} holds NaN or infinity; use an older file")
    metadata = {k: json.loads(v) for k, v in header.items() if k not in ("kind", "version")}
    return tensors, metadata


def save_rule(path: Path, rule: NCA, record: dict) -> None:
    """Write a rule with its configuration and training record (plain values)."""
    write_tensors(path, RULE, rule.state_dict(), config=rule.settings(), record=record)


def load_tensors_into(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """`load_state_dict`, but a mismatch is an InputError that names the first wrong tensor."""
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise InputError(f"{path}: tensor {name!r} is missing; the file is of another rule")
        if name not in wanted:
            raise InputError(f"{path}: unexpected tensor {name!r}; the file is of another rule")
        if wanted[name].shape != tensors[name].shape:
            raise InputError(
                f"{path}: tensor {name!r} has shape {list(tensors[name].shape)}, its configuration "
                f"says {list(wanted[name].shape)}"
            )
    module.load_state_dict(tensors)


def load(name_or_path: str | Path) -> NCA:
    """A ready rule: `unified`, `restore`, `digit-0` ... `digit-9`, or a file written by a training.

    The training record is at `rule.record`, the file's SHA-256 in `rule.record["sha256"]`.

    Raises:
        InputError: no such file, or one that can't be used; the message says why.
    """
    path = resolve(name_or_path)
    tensors, metadata = read_tensors(path, RULE)
    try:
        config = metadata["config"]
        unknown = config.keys() - {f.name for f in fields(RuleConfig)}
        if unknown:
            raise InputError(f"{path}: unknown setting {sorted(unknown)[0]!r} in its configuration")
        rule = NCA(RuleConfig(**config))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its configuration can't be read ({error})") from error
    load_tensors_into(rule, tensors, path)
    rule.record = metadata.get("record", {}) | {"sha256": sha256(path)}
    return rule.eval()


def resolve(name_or_path: str | Path) -> Path:
    """The file behind a shipped name or a path."""
    if str(name_or_path) in SHIPPED:
        path = Path(str(files("nca_lib") / "weights" / f"{name_or_path}.safetensors"))
        if not path.is_file():
            raise InputError(f"the rule {name_or_path!r} is not shipped yet: train it with nca run")
        return path
    return Path(name_or_path)


def sha256(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
