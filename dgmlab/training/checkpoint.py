"""Checkpoints: one file a checkpoint, complete or absent.

A checkpoint is a safetensors file whose header carries the rest of the state as JSON, so nothing in it can run code
and tensors and text can never be of two minds. It is written beside its final name, flushed to the disk and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..data.base import beside
from ..errors import LabError

FORMAT = "dgmlab run 1"


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a crash at any moment leaves the old file or the new one, never half."""
    with beside(path) as part, open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, tensors: dict[str, Tensor], meta: dict) -> None:
    """Write one checkpoint."""
    own: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if storage in seen else tensor      # tied weights: the format knows no sharing
        seen.add(storage)
    text = json.dumps(meta)
    header = {"format": FORMAT, "sha256": _digest(own, text), "meta": text}
    try:
        write_atomically(path, save(own, header))
    except OSError as error:
        raise LabError(f"The checkpoint {path} could not be written ({error.strerror}); "
                       "free some space or choose another folder.") from error


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON-able data of one checkpoint.

    Raises:
        LabError: the file is missing, truncated, damaged or not a checkpoint of this lab.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise LabError(f"{path} is not a checkpoint of this lab; choose a file that a run has saved.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise LabError(f"There is no checkpoint at {path}.") from None
    except (SafetensorError, OSError) as error:
        raise LabError(f"{path} is truncated or not a checkpoint ({error}); use an earlier one.") from None
    if _digest(tensors, header.get("meta", "")) != header.get("sha256"):
        raise LabError(f"{path} is damaged (its checksum does not fit); use an earlier one.")
    return tensors, json.loads(header["meta"])


def found(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    paths = [p for p in Path(folder).glob("step-*.safetensors") if re.fullmatch(r"step-\d+\.safetensors", p.name)]
    return sorted(paths, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def path_for(folder: Path, step: int) -> Path:
    return Path(folder) / f"step-{step:09d}.safetensors"


def prune(folder: Path, keep: int, step: int) -> None:
    """Keep the newest ``keep`` checkpoints up to ``step``; a later one can only be damaged, and does not count."""
    for path in [path for path in found(folder) if step_of(path) <= step][keep:]:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete what a kill in the middle of writing left behind."""
    for path in Path(folder).glob(".*.part"):
        path.unlink(missing_ok=True)


def newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict, list[str]] | None:
    """The newest checkpoint that can be read, with one sentence for each newer one that was refused."""
    refused = []
    for path in found(folder):
        try:
            return path, *read(path), refused
        except LabError as error:
            refused.append(str(error))
    if refused:
        raise LabError(f"No checkpoint in {folder} can be read: {refused[0]}")
    return None


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
