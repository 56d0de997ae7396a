"""Unpacking a downloaded archive, before the walk: nothing lands outside its folder, or in place of another file.

Files are unpacked beside their places and moved when all are there (of a .zip, with the right checksums).
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from posefabric.errors import UserError
from posefabric.progress import ByteProgress

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError)
"""What the readers raise on damaged files; of a .zip with a password, `RuntimeError`."""
_BLOCK = 1 << 20


@runtime_checkable
class _Readable(Protocol):
    """The content of one member of an archive."""

    def read(self, size: int = -1, /) -> bytes: ...


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a .zip or .tar.gz into a folder; the number of files is returned.

    Raises `UserError`: "download-failed" if the archive is damaged or names places outside the folder or anything
    but files and folders; "not-writable" if another file is in the way or the disk is full. Then nothing is moved.
    """
    drafts = folder / f".{archive.name}.unpacking"
    shutil.rmtree(drafts, ignore_errors=True)
    try:
        with ByteProgress(f"unpacking {archive.name}") as progress:
            done = 0
            for name, file in _files(archive, folder):
                done += _write(drafts / name, file)
                progress.update(done, None)
        return _move(drafts, folder)
    except _DAMAGED as error:
        raise _refused(archive, f"is damaged: {error}") from error
    except OSError as error:
        raise UserError("not-writable", f"cannot unpack {archive} into {folder}: {error}") from error
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def _files(archive: Path, folder: Path) -> Iterator[tuple[PurePosixPath, _Readable]]:
    """The files of an archive with their names, as they come."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            require_space(folder, sum(member.file_size for member in members.infolist()), f"to unpack {archive.name}")
            for member in members.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                name = _inside(archive, member.filename, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
                if not member.is_dir():
                    with members.open(member) as file:
                        yield name, file
        return
    with tarfile.open(archive, "r|gz") as stream:
        for entry in stream:
            name = _inside(archive, entry.name, plain=entry.isreg() or entry.isdir())
            content = stream.extractfile(entry)
            if content is not None:
                yield name, content


def _inside(archive: Path, name: str, plain: bool) -> PurePosixPath:
    """The name, if it is that of a file or folder below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not plain or path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise _refused(archive, f"names {name!r}, which is no plain file inside its folder")
    return path


def _write(path: Path, content: _Readable) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
        return file.tell()


def _move(drafts: Path, folder: Path) -> int:
    """Move all drafts to their places, unless a place is taken by something else."""
    places = {draft: folder / draft.relative_to(drafts) for draft in sorted(drafts.rglob("*")) if draft.is_file()}
    for draft, place in places.items():
        if place.exists() and not (place.is_file() and filecmp.cmp(draft, place, shallow=False)):
            raise UserError("not-writable", f"{place} exists and differs from the archive's", "another --output")
    for draft, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft, place)
    return len(places)


def require_space(folder: Path, num_bytes: float, purpose: str) -> None:
    """Raise `UserError("not-writable")` unless so much is free where the folder is (or will be)."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        given = f"{free / 1e9:.1f} GB are free at {existing}, {num_bytes / 1e9:.1f} GB are needed {purpose}"
        raise UserError("not-writable", given, "more space, or an --output elsewhere")


def _refused(archive: Path, found: str) -> UserError:
    return UserError("download-failed", f"{archive.name} {found}", "an archive of plain files, whole")
