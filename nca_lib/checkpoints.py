"""Checkpoints: safetensors with everything needed to use them in the metadata.

Nothing is ever unpickled. A file is written under a temporary name and then renamed, so that a
full disk or a power cut never costs what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

from nca_lib.errors import InputError
from nca_lib.inputs import as_whole
from nca_lib.kinds import MNIST, Kind
from nca_lib.rule import NCA, RuleConfig

import torch
from safetensors.torch import load as parse
from safetensors.torch import save
from torch import Tensor

VERSION = 2  # of the layout of files; 1 had no digest
RULE, RUN = "nca_lib rule", "nca_lib run"
TASKS = ("grow", "restore", "read")
SHIPPED = ("unified", "restore", "reader", *(f"digit-{d}" for d in range(10)))
LARGEST = 65_536  # channels or units; more than any rule, less than what fills the memory
LARGEST_SIDE = 512  # of a grid, in cells
NOT_JSON = ("kind", "version", "digest")  # what the metadata holds as plain text
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


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
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"can't write {path}: {error.strerror or error}; nothing that was there is lost. "
            "Make room or choose another --out"
        ) from error


def digest_of(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """SHA-256 of everything in a file: it tells a damaged body."""
    own = {key: value for key, value in header.items() if key != "digest"}
    total = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def pack_tensors(kind: str, tensors: dict[str, Tensor], **metadata) -> bytes:
    """The content of a safetensors file; `metadata` holds plain values, stored as JSON."""
    header = {"kind": kind, "version": str(VERSION)}
    header |= {key: json.dumps(value) for key, value in metadata.items()}
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    header["digest"] = digest_of(contiguous, header)
    return in_order(save(contiguous, header))


def in_order(content: bytes) -> bytes:
    """The same file, its metadata sorted: safetensors shuffles them, so files would all differ."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def write_tensors(path: Path, kind: str, tensors: dict[str, Tensor], **metadata) -> None:
    """Write a file of `pack_tensors`, at once or not at all."""
    write_atomically(path, pack_tensors(kind, tensors, **metadata))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read a file of `write_tensors`, checked as far as that goes without knowing the rule.

    Raises:
        InputError: missing, damaged, a pickle, another kind or version of file, or not finite.
    """
    path = Path(path)
    try:
        content = path.read_bytes()  # not mapped into memory: it may be replaced meanwhile
    except OSError as error:
        raise InputError(
            f"no checkpoint at {path} ({error.strerror}): train one, or give the name of a "
            "shipped rule"
        ) from error
    if content[:2] in PICKLES and content[2:8] != bytes(6):  # a header's length could look like one
        raise InputError(f"{path} is a pickle, which could run any code: nca_lib reads safetensors")
    try:
        tensors = parse(content)
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        metadata = {k: json.loads(v) for k, v in header.items() if k not in NOT_JSON}
    except Exception as error:  # the reader raises many kinds; whichever, it is the file's fault
        raise InputError(f"{path} is damaged or no safetensors file ({error})") from error
    check_header(path, kind, header, tensors)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path}: tensor {name!r} holds NaN or infinity; use an older file")
    return tensors, metadata


def check_header(path: Path, kind: str, header: dict, tensors: dict[str, Tensor]) -> None:
    """Raise InputError for another kind or version of file, or one that was changed."""
    if header.get("kind") != kind:
        found = header.get("kind", "something else")
        raise InputError(f"{path} holds {found!r}, wanted was {kind!r}: give another file")
    if header.get("version") not in ("1", str(VERSION)):
        raise InputError(
            f"{path} has version {header.get('version')}, this nca_lib reads up to {VERSION}: "
            "install the nca_lib that wrote it, or train it again"
        )
    if header["version"] != "1" and header.get("digest") != digest_of(tensors, header):
        raise InputError(f"{path} is damaged: its digest does not fit; get the file anew")


def pack_rule(rule: NCA, record: dict) -> bytes:
    """The content of a rule's file, with its configuration and training record (plain values)."""
    config = rule.settings()
    if type(rule) is not NCA:
        config["class"] = type(rule).__name__  # `load` must not make a plain NCA of it
    return pack_tensors(RULE, rule.state_dict(), config=config, record=record)


def save_rule(path: Path, rule: NCA, record: dict) -> None:
    """Write a rule to a file, at once or not at all."""
    write_atomically(path, pack_rule(rule, record))


LATER = {"genome.flow.width": 1.0}  # tensors that older files lack, and what they stood for


def load_tensors_into(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """`load_state_dict`, but a mismatch is an InputError that names the first wrong tensor."""
    wanted = module.state_dict()
    for name in LATER.keys() & wanted.keys() - tensors.keys():
        tensors = tensors | {name: torch.full_like(wanted[name], LATER[name])}
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
        if wanted[name].is_floating_point() != tensors[name].is_floating_point():
            raise InputError(f"{path}: tensor {name!r} is {tensors[name].dtype}")
    module.load_state_dict(tensors)


def halved(module: torch.nn.Module) -> dict[str, Tensor]:
    """The tensors of a module in half precision; whole numbers stay as they are."""
    return {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}


def load_network(path: Path, kind: str, again: str, make: Callable[[dict], torch.nn.Module]):
    """A network that is no rule, frozen, with its training at `record`.

    Args:
        again: the command that trains it again, for the error.
        make: builds it from the record.

    Raises:
        InputError: a file that can't be used.
    """
    tensors, metadata = read_tensors(path, kind)
    record = metadata.get("record")
    try:
        if not isinstance(record, dict):
            raise InputError("its record can't be read")
        network = make(record)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}; train it again: {again}") from error
    whole = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    load_tensors_into(network, whole, path)
    network.record = record
    return network.eval().requires_grad_(False)


def load(name_or_path: str | Path, rule_class: type[NCA] = NCA) -> NCA:
    """A ready rule: `unified`, `restore`, `digit-0` ... `digit-9`, or a file written by a training.

    The training record is at `rule.record`, the file's SHA-256 in `rule.record["sha256"]`. Give
    `rule_class` for a file of a class of your own.

    Raises:
        InputError: no such file, or one that can't be used; the message says why.
    """
    path = resolve(name_or_path)
    tensors, metadata = read_tensors(path, RULE)
    config, kind = read_config(path, metadata, rule_class.__name__)
    kernels = tensors.get("kernels")
    if kernels is not None and kernels.shape[1:] != (1, 3, 3):
        raise InputError(f"{path}: its kernels have shape {list(kernels.shape)}, not [K, 1, 3, 3]")
    rule = rule_class(config, kind, *([] if kernels is None else [kernels]))
    flow = rule.genome.flow
    if not any(name.startswith("genome.flow.") for name in tensors) and flow is not None:
        tensors |= {f"genome.flow.{name}": t for name, t in flow.state_dict().items()}  # older file
    load_tensors_into(rule, tensors, path)
    if flow is not None and (flow.orders.sort(1).values != torch.arange(config.style_dim)).any():
        raise InputError(f"{path}: an order in the flow of its styles leaves out a number")
    if (rule.genome.spread.diagonal(dim1=1, dim2=2) <= 0).any():
        raise InputError(f"{path}: the spread of its styles is not positive; use another file")
    record = metadata.get("record", {})
    if not isinstance(record, dict):
        raise InputError(f"{path}: its training record can't be read ({record!r:.40})")
    rule.record = checked_record(path, record, len(kind.classes)) | {"sha256": sha256(path)}
    return rule.eval()


def read_config(path: Path, metadata: dict, rule_class: str) -> tuple[RuleConfig, Kind]:
    """The configuration in a rule's metadata, and the kind of its pictures (none: MNIST's)."""
    try:
        given = dict(metadata["config"].items())
        written_for = given.pop("class", NCA.__name__)
        if written_for != rule_class:
            raise InputError(
                f"a rule of the class {written_for}, not {rule_class}: give its class to load"
            )
        kind = read_kind(given)
        unknown = given.keys() - {f.name for f in fields(RuleConfig)}
        if unknown:
            raise InputError(f"unknown setting {sorted(unknown)[0]!r} in its configuration")
        config = RuleConfig(**given)
        if config.channels <= kind.life:
            raise InputError(f"{config.channels} channels can't hold {kind.ink} of ink and life")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its configuration can't be read ({error})") from error
    sizes = config.channels, config.hidden, config.label_dim, config.style_dim
    if max(sizes) > LARGEST:
        raise InputError(f"{path}: its configuration names a size above {LARGEST}")
    return config, kind


def read_kind(given: dict) -> Kind:
    """Take the kind of pictures out of a configuration; files from before it had one: MNIST."""
    names = {f.name for f in fields(Kind)} & given.keys()
    kind = replace(MNIST, **{name: given.pop(name) for name in names})
    lists = all(isinstance(part, (list, tuple)) for part in (kind.classes, kind.size))
    if not lists or not kind.classes or not all(isinstance(name, str) for name in kind.classes):
        raise InputError("its classes or its size can't be read")
    size = tuple(as_whole(side, "a side", least=1) for side in kind.size)
    if len(size) != 2 or max(size) > LARGEST_SIDE:
        raise InputError(f"its size is {list(size)}: want height and width up to {LARGEST_SIDE}")
    return Kind(tuple(kind.classes), as_whole(kind.ink, "ink", least=1), size)


def checked_record(path: Path, record: dict, classes: int) -> dict:
    """The record, if the parts that evaluation goes by are of the right kind."""
    training, digits = record.get("training", {}), record.get("digits", [0])
    steps = training.get("loss_steps", [1]) if isinstance(training, dict) else None
    for values, least in ((steps, 1), (digits, 0)):
        fine = isinstance(values, list) and values
        if not fine or not all(type(v) is int and v >= least for v in values):
            raise InputError(f"{path}: its training record can't be read")
    if training.get("task", "grow") not in TASKS or max(digits) >= classes:
        raise InputError(f"{path}: its training record names an unknown task or class")
    return record


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
