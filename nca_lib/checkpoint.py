"""Checkpoints: safetensors files with everything needed to use them in their metadata.

Nothing is ever unpickled. A file is written under a temporary name and then renamed, so a full disk
or a power cut never costs what was there before.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from nca_lib.inputs import InputError, as_whole
from nca_lib.model import NCA, ModelConfig
from nca_lib.spec import ImageSpec

import torch
from safetensors.torch import load as parse
from safetensors.torch import save
from torch import Tensor, nn

VERSION = "3"  # of the layout of files
MODEL, RUN = "nca_lib model", "nca_lib run"
TASKS = ("grow", "restore", "classify")
SHIPPED = ("unified", "restore", "reader", *(f"digit-{d}" for d in range(10)))
LARGEST = 65_536  # channels or units; more than any model, less than what fills the memory
LARGEST_SIDE = 512  # of a grid, in cells
LONGEST = 100_000  # steps of a training rollout
TEMPORARY = ".nca-tmp"  # how names of files end that are not whole yet
PLAIN = ("kind", "version", "digest")  # header fields that are text, not JSON
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that `path` holds either the old content or all of the new.

    A link stays a link: what it leads to is written.

    Raises:
        InputError: no regular file stands there, the folder can't be written to, or the disk is
            full.
    """
    path = Path(os.path.realpath(path))
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"can't write {path}: it is no regular file; choose another --out")
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
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


def sha256(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def digest_of(tensors: dict[str, Tensor], header: dict[str, str]) -> str:
    """SHA-256 of everything in a file: it reveals a damaged body."""
    own = {key: value for key, value in header.items() if key != "digest"}
    total = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


# ---- files of tensors ----------------------------------------------------------------------------


def pack_tensors(kind: str, tensors: dict[str, Tensor], **header) -> bytes:
    """The content of a safetensors file; `header` holds plain values, stored as JSON."""
    text = {"kind": kind, "version": VERSION}
    text |= {key: json.dumps(value) for key, value in header.items()}
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text["digest"] = digest_of(contiguous, text)
    content = save(contiguous, text)
    # safetensors shuffles the metadata: sort them, so that equal models give equal files
    length = struct.unpack("<Q", content[:8])[0]
    parsed = json.loads(content[8 : 8 + length])
    parsed["__metadata__"] = dict(sorted(parsed["__metadata__"].items()))
    head = json.dumps(parsed, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # tensors begin at a multiple of eight bytes
    return struct.pack("<Q", len(head)) + head + content[8 + length :]


def write_tensors(path: Path, kind: str, tensors: dict[str, Tensor], **header) -> None:
    """Write a file of `pack_tensors`, whole or not at all."""
    write_atomically(path, pack_tensors(kind, tensors, **header))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Tensors and header of a file of `write_tensors`.

    Raises:
        InputError: missing, damaged, a pickle, another kind or version of file, or not finite.
    """
    path = Path(path).expanduser()
    try:
        if path.exists() and not path.is_file():  # a FIFO would never end
            raise OSError(errno.EINVAL, "no regular file")
        content = path.read_bytes()  # not mapped into memory: it may be replaced meanwhile
    except OSError as error:
        raise InputError(
            f"no checkpoint at {path} ({error.strerror}): train one, or give the name of a "
            "shipped model"
        ) from error
    if content[:2] in PICKLES and content[2:8] != bytes(6):  # a header's length could look like one
        raise InputError(f"{path} is a pickle, which could run any code: nca_lib reads safetensors")
    try:
        tensors = parse(content)
        length = struct.unpack("<Q", content[:8])[0]
        text = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        header = {k: json.loads(v) for k, v in text.items() if k not in PLAIN}
    except Exception as error:  # the reader raises many kinds; whichever, it is the file's fault
        raise InputError(f"{path} is damaged or no safetensors file ({error})") from error
    if text.get("kind") != kind:
        raise InputError(
            f"{path} holds {text.get('kind', 'something else')!r}, not {kind!r}: give another file"
        )
    if text.get("version") != VERSION:
        raise InputError(
            f"{path} has version {text.get('version')}, this nca_lib reads version {VERSION}: "
            "install the nca_lib that wrote it, or train it again"
        )
    if text.get("digest") != digest_of(tensors, text):
        raise InputError(f"{path} is damaged: its digest does not fit; get the file anew")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path}: tensor {name!r} holds NaN or infinity; use an older file")
    return tensors, header


def load_tensors_into(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """`load_state_dict`, but a mismatch is an InputError that names the first wrong tensors."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(f"{path} is of another model: {first}") from error


# ---- models --------------------------------------------------------------------------------------


def pack_model(model: NCA) -> bytes:
    """The content of a model's file, with its settings and the metadata of its training."""
    config = model.settings()
    if type(model) is not NCA:
        config["class"] = type(model).__name__  # `load` must not make a plain NCA of it
    metadata = {key: value for key, value in model.metadata.items() if key != "sha256"}
    return pack_tensors(MODEL, model.state_dict(), config=config, metadata=metadata)


def save_model(path: Path, model: NCA) -> None:
    """Write a model to a file, whole or not at all."""
    write_atomically(Path(path).expanduser(), pack_model(model))


def load(name_or_path: str | Path, model_class: type[NCA] = NCA) -> NCA:
    """A model by its name (`unified`, `restore`, `reader`, `digit-0` ... `digit-9`) or its file.

    The metadata of its training are at `model.metadata`, the file's SHA-256 in
    `model.metadata["sha256"]`. Give `model_class` for a file of a class of your own.

    Raises:
        InputError: no such file, or one that can't be used; the message says why.
    """
    path = resolve(name_or_path)
    tensors, header = read_tensors(path, MODEL)
    try:
        model = build(dict(header["config"]), tensors.get("kernels"), model_class)
        model.metadata = header["metadata"] | {"sha256": sha256(path)}
    except (KeyError, TypeError, ValueError) as error:  # an InputError is a ValueError
        raise InputError(f"{path}: its configuration can't be used ({error})") from error
    load_tensors_into(model, tensors, path)
    styles = model.conditioning
    scales = styles and styles.scale_tril.diagonal(dim1=1, dim2=2)  # [L, S]
    if styles is not None and ((scales <= 0).any() or styles.temperature <= 0):
        raise InputError(f"{path}: the scale of its styles is not positive; use another file")
    return model.eval()


def build(config: dict, kernels: Tensor | None, model_class: type[NCA]) -> NCA:
    """A new model from the plain values of `NCA.settings`."""
    written_for = config.pop("class", NCA.__name__)
    if written_for != model_class.__name__:
        raise InputError(
            f"it is a {written_for}, not a {model_class.__name__}: give its class to load"
        )
    spec = read_spec(config)
    task, steps = config.pop("task"), as_whole(config.pop("steps"), "steps", least=1)
    labels = [as_whole(label, "a trained label") for label in config.pop("trained_labels")]
    if task not in TASKS or steps > LONGEST or not labels or max(labels) >= len(spec.classes):
        raise InputError("it names an unknown task, label or number of steps")
    chosen = ModelConfig(**config)
    if max(chosen.channels, chosen.hidden, chosen.label_dim, chosen.style_dim) > LARGEST:
        raise InputError(f"it names a size above {LARGEST}")
    model = model_class(spec, chosen, **({} if kernels is None else {"kernels": kernels}))
    model.task, model.steps, model.trained_labels = task, steps, labels
    return model


def read_spec(config: dict) -> ImageSpec:
    """Take the `ImageSpec` out of plain values: classes, image_channels and size."""
    classes, channels, size = (config.pop(key) for key in ("classes", "image_channels", "size"))
    height, width = (as_whole(side, "a side", least=1) for side in size)
    channels = as_whole(channels, "image channels", least=1)
    if max(height, width) > LARGEST_SIDE or channels > LARGEST:
        raise InputError(f"{height} x {width} cells of {channels} channels are too many")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InputError("its classes can't be read")
    return ImageSpec(tuple(classes), channels, (height, width))


def resolve(name_or_path: str | Path) -> Path:
    """The file behind a shipped name or a path."""
    name = str(name_or_path)
    return shipped_file(name) if name in SHIPPED else Path(name).expanduser()


def shipped_file(name: str) -> Path:
    """A file of the package's weights."""
    return Path(str(files("nca_lib") / "weights" / f"{name}.safetensors"))


# ---- other networks: classifier, convolutional decoder -------------------------------------------


def half_precision(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module in half precision; whole numbers stay as they are."""
    return {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}


def load_network(path: Path, kind: str, make: Callable[[dict], nn.Module]) -> nn.Module:
    """A network that is no automaton, frozen, with its training at `.metadata`.

    Args:
        make: builds it from the metadata.

    Raises:
        InputError: a file that can't be used.
    """
    tensors, header = read_tensors(path, kind)
    try:
        network = make(dict(header["metadata"].items()))
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: its metadata can't be read ({error}); train it again") from error
    whole = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    load_tensors_into(network, whole, path)
    network.metadata = header["metadata"]
    return network.eval().requires_grad_(False)
