"""Tensors on disk: the weights a run leaves, and the checkpoints from which it resumes.

Tensors are safetensors files, everything else JSON; nothing here can execute code. A checkpoint's manifest holds the
SHA-256 of its files, so a damaged one is never loaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from posefabric import documents
from posefabric.errors import UserError
from posefabric.runs import FORMAT, make_folder, not_written, read_record, sync_folder, to_text, write_atomic
from posefabric.texts import file_digest, open_file, parse_json

logger = logging.getLogger(__name__)

LARGEST_HEADER = 8 * 2**20
"""Bytes of the header of a safetensors file: those of some 50,000 tensors."""

KEPT = 3
"""How many checkpoints stay on disk."""

FOLDER, BEST = "checkpoints", "best.json"
TREE, TENSORS, MANIFEST = "state.json", "state.safetensors", "manifest.json"


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
    _check_header(path)
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise UserError("bad-weights", f"{path} is not a whole safetensors file: {error}") from error


def _check_header(path: Path) -> None:
    """Refuse a safetensors header that is beyond all measure, or gives a name twice, which its reader lets pass."""
    with open_file(path, code="bad-weights") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > LARGEST_HEADER:
            found = f"{path} is not a whole safetensors file: its header claims {length:,} bytes"
            raise UserError("bad-weights", found, f"at most {LARGEST_HEADER:,}")
        header = file.read(length)
    if len(header) < length or not header.startswith(b"{"):
        raise UserError("bad-weights", f"{path} is not a whole safetensors file: it has no header", "a header of JSON")
    parse_json(header.decode("utf-8", "replace"), code="bad-weights", where=f"the header of {path}")


def save_checkpoint(run: Path, step: int, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the state after `step` steps into a run folder, whole or not at all.

    `about` joins the manifest: what the state belongs to, its `"config"` above all. The last few checkpoints and the
    best stay; those of later steps, which were passed over, do not count. A failure leaves those that were there; a
    full disk raises `UserError("disk-full")`.
    """
    folder = run / FOLDER
    draft, final = folder / f".step-{step}.tmp", folder / f"step-{step}"
    shutil.rmtree(draft, ignore_errors=True)
    make_folder(draft)
    tree, tensors = _pack(state)
    try:
        write_atomic(draft / TREE, to_text(tree))
        save_tensors(draft / TENSORS, tensors)
        manifest = {"format": FORMAT, "step": step, "sha256": _digests(draft), **about}
        write_atomic(draft / MANIFEST, to_text({**manifest, "digest": _digest(to_text(manifest).encode())}))
        shutil.rmtree(final, ignore_errors=True)
        os.replace(draft, final)
        sync_folder(folder)
    except OSError as error:
        raise not_written(final, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    marked = best(run)
    for old in [old for old in _steps(folder) if old <= step][:-KEPT]:
        if marked is None or old != marked.step:
            shutil.rmtree(folder / f"step-{old}", ignore_errors=True)


def latest_checkpoint(run: Path, config: Any = None) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the newest whole checkpoint of a run folder.

    Damaged ones, and those of another `config` where one is given, are passed over with a warning that says how many
    steps are lost.
    """
    steps = _steps(run / FOLDER)
    for step in reversed(steps):
        state = read_checkpoint(run, step, config)
        if state is not None:
            if step != steps[-1]:
                logger.warning("going back to step %d: %d steps are lost", step, steps[-1] - step)
            return step, state
    if steps:
        logger.warning("no checkpoint is whole: the run begins anew, %d steps are lost", steps[-1])
    return None


def forget_checkpoints(run: Path, step: int) -> None:
    """Remove the checkpoints from a step on, where whole ones before it are left to go back to."""
    folder = run / FOLDER
    if any(not _problem(folder / f"step-{old}", old) for old in _steps(folder) if old < step):
        for bad in (later for later in _steps(folder) if later >= step):
            shutil.rmtree(folder / f"step-{bad}", ignore_errors=True)


def read_checkpoint(run: Path, step: int, config: Any = None) -> dict[str, Any] | None:
    """The state of one checkpoint; none, with a warning, where it is missing, damaged or of another `config`."""
    folder = run / FOLDER / f"step-{step}"
    if problem := _problem(folder, step, config):
        logger.warning("%s %s and is passed over", folder, problem)
        return None
    try:
        state = _unpack(read_record(folder / TREE), load_tensors(folder / TENSORS))
    except (UserError, KeyError, TypeError, ValueError, RuntimeError) as error:
        logger.warning("%s holds no state (%s) and is passed over", folder, error)
        return None
    return state if isinstance(state, dict) else None


class Best(NamedTuple):
    """The best validation so far: after which step, by which figure."""

    step: int
    figure: str
    value: float


def mark_best(run: Path, found: Best) -> None:
    """Keep the checkpoint of a step until a better one is marked."""
    write_atomic(run / FOLDER / BEST, to_text(found._asdict()))


def best(run: Path) -> Best | None:
    """What `mark_best` marked last and is still there."""
    try:
        marked = documents.from_data(Best, read_record(run / FOLDER / BEST), code="bad-run", where=BEST)
    except UserError:
        return None
    return marked if marked.step in _steps(run / FOLDER) else None


def strays(run: Path) -> list[Path]:
    """What a writer that died left half-done: drafts of files in a run folder and of checkpoints."""
    return [*run.glob(".*.tmp"), *(run / FOLDER).glob(".*.tmp")]


def remove_strays(run: Path) -> None:
    """Remove them; only who holds the run's lock may."""
    for path in strays(run):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def check_checkpoints(run: Path) -> list[tuple[str, str]]:
    """Name and problem of every checkpoint of a run folder; no problem is an empty text."""
    folder = run / FOLDER
    return [(f"{FOLDER}/step-{step}", _problem(folder / f"step-{step}", step)) for step in _steps(folder)]


def _problem(folder: Path, step: int, config: Any = None) -> str:
    """What is wrong with a checkpoint; empty where it is whole and, where one is given, of the `config`."""
    try:
        manifest = read_record(folder / MANIFEST)
        if manifest.pop("digest", None) != _digest(to_text(manifest).encode()):
            return "is damaged"
        if manifest.get("format") != FORMAT:
            return f"has format {manifest.get('format')}, this version reads {FORMAT}"
        if manifest.get("step") != step or manifest.get("sha256") != _digests(folder):
            return "is damaged"
    except (OSError, UserError) as error:
        return f"cannot be read ({error.finding if isinstance(error, UserError) else error.strerror})"
    return "belongs to another run" if config is not None and manifest.get("config") != config else ""


def _digests(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in (TREE, TENSORS)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _steps(folder: Path) -> list[int]:
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted(int(name) for name in names if name.isdecimal())


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
