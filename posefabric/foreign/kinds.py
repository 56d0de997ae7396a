"""What a file is by its first bytes, whatever its name: nothing else of it is looked at here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from posefabric.errors import UserError
from posefabric.texts import open_file

Kind = Literal["safetensors", "zip", "legacy"]
SAFETENSORS: Kind = "safetensors"
ARCHIVE: Kind = "zip"
LEGACY: Kind = "legacy"
"""What PyTorch wrote before 1.6, and the authors of the paper with it."""

LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""The number with which a file of PyTorch before 1.6 begins, as it stands in the pickle."""

STATE_DICT = "a state dict saved by torch.save, or a safetensors file"
SAVE_AGAIN = "Save the tensors alone where the file was made: torch.save(model.state_dict(), FILE)."

_OTHERS: dict[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("is a gzip archive", "Unpack it first."),
    b"BZh": ("is a bzip2 archive", "Unpack it first."),
    b"\xfd7zXZ": ("is an xz archive", "Unpack it first."),
    b"7z\xbc\xaf": ("is a 7z archive", "Unpack it first."),
    b"Rar!": ("is a rar archive", "Unpack it first."),
    b"\x89HDF": ("is an HDF5 file", SAVE_AGAIN),
    b"version https://git-lfs": ("is a pointer of Git LFS, not the file", "Fetch the file itself: git lfs pull."),
}


def kind_of(file: Path) -> Kind:
    """Which of the three formats a file has. Raises `UserError` naming what else it is."""
    with open_file(file, code="bad-weights") as opened:
        head = opened.read(512)
    if head.startswith(b"PK\x03\x04"):
        return ARCHIVE
    if head.startswith(b"\x80") and LEGACY_MAGIC in head[:32]:
        return LEGACY
    if head[8:9] == b"{":
        return SAFETENSORS
    raise _another(file, head)


def _another(file: Path, head: bytes) -> UserError:
    if not head:
        return UserError("bad-weights", f"{file} is empty", STATE_DICT, "Fetch it again.")
    for magic, (found, todo) in _OTHERS.items():
        if head.startswith(magic):
            return UserError("bad-weights", f"{file} {found}", STATE_DICT, todo)
    if head[257:262] == b"ustar":
        return UserError("bad-weights", f"{file} is a tar archive", STATE_DICT, "Unpack it and name the file in it.")
    if head.lstrip()[:1] == b"<":
        found = f"{file} is a web page, not the file that was to be downloaded"
        return UserError("bad-weights", found, STATE_DICT, "Open the address in a browser and save what it offers.")
    if head.startswith(b"\x80"):
        return UserError("bad-weights", f"{file} is a pickle, which can run code", STATE_DICT, SAVE_AGAIN)
    return UserError("bad-weights", f"{file} is no file of tensors", STATE_DICT, "Check which file it is.")
