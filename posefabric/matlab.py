"""MATLAB files: how MPII and Leeds Sports Pose are distributed, and how MPII predictions are handed in.

Stands beside `documents`, below everything that reads or writes such a file.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatReadError

from posefabric.errors import UserError

_HEADER = b"MATLAB 5.0 MAT-file, written by posefabric"
_HEADER_SIZE = 116
"""Bytes of free text at the start, where writers put the date; without it equal arrays give equal files."""

_PLAIN, _PACKED = 14, 15
"""The kinds of variables of the format."""

_BLOCK = 1 << 20

MOST_GROWTH, ALWAYS_ALLOWED = 100, 64 << 20
"""A file may unpack to so many times its size, or to so many bytes."""

_DAMAGED = (MatReadError, ValueError, TypeError, IndexError, EOFError, OSError, zlib.error, MemoryError, OverflowError)
"""What scipy's reader raises on files that are cut short or are something else."""


def read_mat(path: Path, *, code: str) -> dict[str, Any]:
    """The variables of a MATLAB file (up to version 7): arrays; cells and structs as nested object arrays.

    Raises `UserError("missing-file")`, or `UserError(code)` on a file that is damaged or in another format.
    """
    if not path.is_file():
        raise UserError("missing-file", f"{path} does not exist or is not a file")
    try:
        _check_growth(path, code)
        content = loadmat(path)
    except UserError:
        raise
    except NotImplementedError as error:
        raise UserError(code, f"{path} is a MATLAB 7.3 file", "an older format: in MATLAB, save with -v7") from error
    except _DAMAGED as error:
        raise UserError(code, f"{path} is not a whole MATLAB file: {error}", "a .mat file") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _check_growth(path: Path, code: str) -> None:
    """Refuse a file that unpacks to more than data do."""
    size = path.stat().st_size
    left = limit = max(MOST_GROWTH * size, ALWAYS_ALLOWED)
    for packed in _packed_variables(path):
        unpacking = zlib.decompressobj()
        while packed and left >= 0:
            left -= len(unpacking.decompress(packed, _BLOCK))
            packed = unpacking.unconsumed_tail
    if left < 0:
        raise UserError(code, f"{path}, of {size:,} bytes, unpacks to more than {limit:,}", "a file of data")


def _packed_variables(path: Path) -> Iterator[bytes]:
    """What a file of version 5 to 7 has of packed variables: after the header, each has its kind and size before it."""
    with path.open("rb") as file:
        file.seek(_HEADER_SIZE + 10)
        order: Literal["little", "big"] = "little" if file.read(2) == b"IM" else "big"
        while len(tag := file.read(8)) == 8:
            kind, num_bytes = (int.from_bytes(tag[at : at + 4], order) for at in (0, 4))
            if kind == _PACKED:
                yield file.read(num_bytes)
            elif kind == _PLAIN:
                file.seek(num_bytes, io.SEEK_CUR)
            else:
                return  # it is something else; the reader will say so


def numeric(content: Mapping[str, Any], name: str, path: Path, *, code: str) -> np.ndarray:
    """One numeric variable in float64. Raises `UserError(code)` if there is none of that name."""
    if name not in content:
        known = ", ".join(content) or "nothing"
        raise UserError(code, f"{path} has no variable '{name}' (it has {known})", f"an array '{name}'")
    value = np.asarray(content[name])
    if value.dtype.kind not in "fiub":
        raise UserError(code, f"{path}: {name} holds no numbers", "a numeric array")
    return value.astype(np.float64)


def to_mat(variables: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a MATLAB 5 file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    savemat(buffer, dict(variables))
    return _HEADER.ljust(_HEADER_SIZE) + buffer.getvalue()[_HEADER_SIZE:]
