"""Archives are unpacked whole and inside their folder, or not at all."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_server import CONTENT
from small_archives import read_all, tarred, zipped

from posefabric.data.downloads.unpack import unpack
from posefabric.errors import UserError

FILES = {"images/a.jpg": b"a" * 3000, "images/deep/b.jpg": b"b" * 10, "readme": b""}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_are_unpacked(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(pack(FILES))
    for _ in range(2):  # the same files again are no obstacle
        assert unpack(archive, tmp_path / "out") == 3
        assert read_all(tmp_path / "out") == FILES


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def deflated(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_DEFLATED


def zipped_twice() -> bytes:
    return zipped({"a": b"1", "b": b"2"}).replace(b"b", b"a")


def tarred_twice() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


EVIL = ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "\\evil"]
HOSTILE: dict[str, bytes] = {
    **{f"zip {name}": zipped({"good": b"g", name: b"e"}) for name in EVIL},
    **{f"tar {name}": tarred({"good": b"g", name: b"e"}) for name in EVIL},
    "zip link": zipped({"evil": b"/etc/passwd"}, link),
    "tar link": tarred({"evil": b""}, tarfile.SYMTYPE),
    "tar hard link": tarred({"evil": b""}, tarfile.LNKTYPE),
    "tar device": tarred({"evil": b""}, tarfile.CHRTYPE),
    "cut zip": zipped(FILES)[:-20],
    "cut tar": tarred({"a": CONTENT})[:-900],
    "wrong checksum": zipped(FILES).replace(b"a" * 3000, b"a" * 2999 + b"x"),
    "zip no name": zipped({"": b"x"}),
    "zip dot": zipped({".": b"x"}),
    "tar dot": tarred({".": b"x"}),
    "zip a name twice": zipped_twice(),
    "tar a name twice": tarred_twice(),
    "zip file and folder": zipped({"a": b"1", "a/b": b"2"}),
    "zip folder and file": zipped({"a/b/c": b"1", "a/b": b"2"}),
    "zip without files": zipped({}),
    "tar without files": tarred({}),
    "zip that unpacks to too much": zipped({f"{i}": bytes(40 << 20) for i in range(2)}, deflated),
    "tar that unpacks to too much": tarred({f"{i}": bytes(40 << 20) for i in range(2)}),
    "text": b"<html>not found</html>",
    "nothing": b"",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_damaged_archives_leave_nothing(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    folder.mkdir(parents=True)
    (tmp_path / "deep" / "archive").write_bytes(HOSTILE[case])
    with pytest.raises(UserError) as caught:
        unpack(tmp_path / "deep" / "archive", folder)
    assert caught.value.code == "download-failed"
    assert read_all(tmp_path) == {"deep/archive": HOSTILE[case]}


def test_files_in_the_way_are_kept(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(zipped(FILES))
    (tmp_path / "out" / "images" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "images" / "deep" / "b.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"b\.jpg exists and differs") as caught:
        unpack(archive, tmp_path / "out")
    assert caught.value.code == "not-writable"
    assert read_all(tmp_path / "out") == {"images/deep/b.jpg": b"mine"}


def test_the_folder_itself_may_be_listed(tmp_path: Path) -> None:
    """`tar -C folder .` lists it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        top = tarfile.TarInfo("./")
        top.type = tarfile.DIRTYPE
        archive.addfile(top)
        archive.addfile(tarfile.TarInfo("./a"))
    (tmp_path / "archive").write_bytes(buffer.getvalue())
    assert unpack(tmp_path / "archive", tmp_path / "out") == 1
    assert read_all(tmp_path / "out") == {"a": b""}
