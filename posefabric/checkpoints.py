"""Tensors on disk: the weights a run leaves, and the checkpoints from which it resumes.

Tensors are safetensors files, everything else JSON; nothing here can execute code. A checkpoint's manifest holds the
SHA-256 of its files, so a damaged one is never loaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from posefabric.errors import UserError
from posefabric.runs import FORMAT, make_folder, read_record, sync_folder, to_text, write_atomic

logger = logging.getLogger(__name__)

KEPT = 3
"""How many checkpoints stay on disk."""

TREE, TENSORS = "state.json", "state.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file; equal tensors give equal bytes. One that has several names is written under each."""
    write_atomic(path, _tensor_bytes(tensors))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the safetensors file that tensors would make."""
    return hashlib.sha256(_tensor_bytes(tensors)).hexdigest()


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    plain: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in tensors.items():
        found = tensor.detach().cpu().contiguous()
        plain[name] = found.clone() if found.data_ptr() in written else found
        written.add(found.data_ptr())
    return safetensors.torch.save(plain)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU. Raises `UserError` for a missing or damaged one."""
    if not path.is_file():
        raise UserError("missing-file", f"{path} does not exist")
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise UserError("bad-weights", f"{path} is not a whole safetensors file: {error}") from error


def save_checkpoint(run: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write the state after `step` steps into a run folder, whole or not at all; keep the last few."""
    folder = run / "checkpoints"
    draft, final = folder / f".step-{step}.tmp", folder / f"step-{step}"
    shutil.rmtree(draft, ignore_errors=True)
    make_folder(draft)
    tree, tensors = _pack(state)
    write_atomic(draft / TREE, to_text(tree))
    save_tensors(draft / TENSORS, tensors)
    write_atomic(draft / "manifest.json", to_text({"format": FORMAT, "step": step, "sha256": _digests(draft)}))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(draft, final)
    sync_folder(folder)
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old}")


def latest_checkpoint(run: Path) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the newest whole checkpoint of a run folder; damaged ones are passed over with a warning."""
    for step in reversed(_steps(run / "checkpoints")):
        folder = run / "checkpoints" / f"step-{step}"
        if _is_whole(folder):
            return step, _unpack(read_record(folder / TREE), load_tensors(folder / TENSORS))
        logger.warning("%s is damaged and passed over", folder)
    return None


def _is_whole(folder: Path) -> bool:
    try:
        return bool(read_record(folder / "manifest.json").get("sha256") == _digests(folder))
    except (OSError, UserError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (TREE, TENSORS)}


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def _pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A tree of dicts, lists, numbers and tensors as JSON beside a flat dict of its tensors; tuples become lists.

    Which tensors are channels-last is kept: a fused optimizer takes its moments to lie in memory as its weights do.
    """
    tensors: dict[str, Tensor] = {}

    def visit(node: Any) -> Any:
        if isinstance(node, Tensor):
            name = str(len(tensors))
            tensors[name] = node
            return {"tensor": name, "channels_last": _is_channels_last(node)}
        if isinstance(node, Mapping):
            return {"keys": list(node), "values": [visit(value) for value in node.values()]}
        if isinstance(node, (list, tuple)):
            return [visit(value) for value in node]
        return node

    return visit(state), tensors


def _unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, dict) and "tensor" in tree:
        tensor = tensors[tree["tensor"]]
        return tensor.contiguous(memory_format=torch.channels_last) if tree["channels_last"] else tensor
    if isinstance(tree, dict):
        return {key: _unpack(value, tensors) for key, value in zip(tree["keys"], tree["values"], strict=True)}
    if isinstance(tree, list):
        return [_unpack(value, tensors) for value in tree]
    return tree


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
