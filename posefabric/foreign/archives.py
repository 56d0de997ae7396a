"""Whether a zip archive is what `torch.save` writes: plain members, stored as they are, one after the other.

Looked at before anything is read, so that no member can be larger than the file says.
"""

from __future__ import annotations

import itertools
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from posefabric.errors import UserError
from posefabric.foreign.kinds import SAVE_AGAIN, STATE_DICT

MAX_MEMBERS = 30_000
MAX_PICKLE = 2 * 2**20
"""Bytes of the pickle, which holds names and shapes: those of 10,000 tensors. Larger ones keep its reader busy."""

LOCAL_HEADER = 30
"""Bytes before a member's name and content."""


def check_archive(file: Path) -> None:
    """Raise `UserError("bad-weights")` for any other archive; its text begins with what the file does."""
    members = _members(file)
    if len(members) > MAX_MEMBERS:
        raise _bad(f"holds {len(members)} members", f"{MAX_MEMBERS} at most")
    names = [member.filename for member in members]
    _check_names(names)
    _check_form(names)
    for member in members:
        if member.flag_bits & 1:
            raise _bad(f"is encrypted ({member.filename!r})")
        if member.filename.endswith("/data.pkl") and member.file_size > MAX_PICKLE:
            found = f"holds {member.file_size / 1e6:.1f} MB of names and shapes"
            raise _bad(found, f"{MAX_PICKLE / 1e6:.1f} MB at most")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise _bad(f"holds a compressed member, {member.filename!r}", "members as torch.save stores them")
    ends = [(m.header_offset, m.header_offset + LOCAL_HEADER + len(m.filename) + m.file_size) for m in members]
    for (_, end), (start, _) in itertools.pairwise(sorted(ends)):
        if start < end:
            raise _bad("holds members that overlap", "members one after the other")
    if max(end for _, end in ends) > file.stat().st_size:
        raise _bad("holds members that are larger than the file", todo="Fetch it again.")


def _members(file: Path) -> Sequence[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise _bad(f"is cut short or damaged ({error})", todo="Fetch it again.") from error


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable():
            raise _bad(f"holds a member with the name {name!r}", "names below the archive's own folder")
    if len(set(names)) < len(names):
        raise _bad("holds two members of one name")


def _check_form(names: Sequence[str]) -> None:
    """One folder with a pickle of tensors and their bytes, and no program."""
    folders = {PurePosixPath(name).parts[0] for name in names if name.strip("/.")}
    if len(folders) != 1:
        raise _bad(f"is an archive of {len(names)} files", todo="Unpack it and name the file in it.")
    (folder,) = folders
    if any(name.startswith(f"{folder}/code/") or name == f"{folder}/constants.pkl" for name in names):
        raise _bad("is a TorchScript program, which is code")
    if f"{folder}/data.pkl" not in names:
        raise _bad("is an archive, but not one of torch.save", todo="Unpack it and name the file in it.")


def _bad(given: str, allowed: str = STATE_DICT, todo: str = SAVE_AGAIN) -> UserError:
    return UserError("bad-weights", given, allowed, todo)
