"""Archives are unpacked whole and inside their folder, or not at all."""

from __future__ import annotations

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
