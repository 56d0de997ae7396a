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

MOST_GROWTH, ALWAYS_ALLOWED = 100, 64 << 20
"""An archive may unpack to so many times its size, or to so many bytes; the published ones grow tenfold at most."""


@runtime_checkable
class _Readable(Protocol):
    """The content of one member of an archive."""

    def read(self, size: int = -1, /) -> bytes: ...


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a .zip or .tar.gz into a folder; the number of files is returned.

    Raises `UserError`: "download-failed" if the archive is damaged or names places outside the folder or anything
    but files and folders, if it has no files, the same name twice, or more in it than `MOST_GROWTH` allows;
    "not-writable" if another file is in the way or the disk is full. Then nothing is moved.
    """
    drafts = folder / f".{archive.name}.unpacking"
    shutil.rmtree(drafts, ignore_errors=True)
    try:
        with ByteProgress(f"unpacking {archive.name}") as progress:
            _write_all(archive, folder, drafts, progress)
        return _move(drafts, folder)
    except _DAMAGED as error:
        raise _refused(archive, f"is damaged: {error}") from error
    except OSError as error:
        raise UserError("not-writable", f"cannot unpack {archive} into {folder}: {error}") from error
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def _write_all(archive: Path, folder: Path, drafts: Path, progress: ByteProgress) -> None:
    limit = max(MOST_GROWTH * archive.stat().st_size, ALWAYS_ALLOWED)
    done = 0
    for name, file, size in _files(archive, folder):
        if done + size > limit:
            raise _refused(archive, f"unpacks to more than {limit // 10**6:,} MB, which no dataset does")
        try:
            done += _write(drafts / name, file)
        except (FileExistsError, NotADirectoryError) as error:  # the folder of drafts was empty
            raise _refused(archive, f"names {str(name)!r} twice, or as a file and as a folder") from error
        progress.update(done, None)
    if not drafts.exists():
        raise _refused(archive, "has no files")


def _files(archive: Path, folder: Path) -> Iterator[tuple[PurePosixPath, _Readable, int]]:
    """The files of an archive with their names and sizes in bytes, as they come."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            require_space(folder, sum(member.file_size for member in members.infolist()), f"to unpack {archive.name}")
            for member in members.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                is_folder = member.filename.endswith("/")
                plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                name = _inside(archive, member.filename, plain, is_folder)
                if not is_folder:
                    with members.open(member) as file:
                        yield name, file, member.file_size
        return
    with tarfile.open(archive, "r|gz") as stream:
        for entry in stream:
            name = _inside(archive, entry.name, entry.isreg() or entry.isdir(), entry.isdir())
            content = stream.extractfile(entry)
            if content is not None:
                yield name, content, entry.size


def _inside(archive: Path, name: str, plain: bool, is_folder: bool) -> PurePosixPath:
    """The name, if it is that of a file or folder below the folder (of a folder: or of that itself)."""
    path = PurePosixPath(name.replace("\\", "/"))
    nameless = not path.parts and not is_folder
    if not plain or nameless or path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
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
