"""MATLAB files: how MPII and Leeds Sports Pose are distributed, and how MPII predictions are handed in.

Stands beside `documents`, below everything that reads or writes such a file.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatReadError

from posefabric.errors import UserError

_HEADER = b"MATLAB 5.0 MAT-file, written by posefabric"
_HEADER_SIZE = 116
"""Bytes of free text at the start, where writers put the date; without it equal arrays give equal files."""

_DAMAGED = (MatReadError, ValueError, TypeError, IndexError, EOFError, OSError, zlib.error, MemoryError, OverflowError)
"""What scipy's reader raises on files that are cut short or are something else."""


def read_mat(path: Path, *, code: str) -> dict[str, Any]:
    """The variables of a MATLAB file (up to version 7): arrays; cells and structs as nested object arrays.

    Raises `UserError("missing-file")`, or `UserError(code)` on a file that is damaged or in another format.
    """
    if not path.is_file():
        raise UserError("missing-file", f"{path} does not exist or is not a file")
    try:
        content = loadmat(path)
    except NotImplementedError as error:
        raise UserError(code, f"{path} is a MATLAB 7.3 file", "an older format: in MATLAB, save with -v7") from error
    except _DAMAGED as error:
        raise UserError(code, f"{path} is not a whole MATLAB file: {error}", "a .mat file") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


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
