"""Downloads from a server on this machine that misbehaves: what arrives is the published file, or a clear error."""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posefabric import commands
from posefabric.data import download as downloads
from posefabric.data import transfer, unpack
from posefabric.data.download import Archive, download
from posefabric.data.transfer import Patience, RemoteFile, fetch
from posefabric.errors import INPUT_OUTPUT, UserError

QUICK = Patience(tries=4, restarts=2, timeout_s=0.5, first_wait_s=0.0)
CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(280_000)


@dataclass
class Site:
    """What the server has, how it misbehaves in its next answers, and which ranges it was asked for.

    `faults` are taken from the front: "cut" (half of the answer), a number (so many bytes), "whole" (ignores the
    range), "wrong" (one byte differs), "hang", an HTTP status as text, or "" (answers well).
    """

    files: dict[str, bytes]
    etag: str | None = '"1"'
    faults: list[str | int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def remote(self, name: str = "file.bin", *, known: bool = True) -> RemoteFile:
        content = self.files[name]
        md5 = hashlib.md5(content).hexdigest()
        return RemoteFile(f"{self.url}/{name}", len(content), md5) if known else RemoteFile(f"{self.url}/{name}")


class Handler(BaseHTTPRequestHandler):
    """One answer of the site."""

    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, asked = self.site, self.headers.get("Range")
        assert len(site.asked) < 100, "too many requests"
        site.asked.append(asked)
        fault = site.faults.pop(0) if site.faults else ""
        content = site.files.get(self.path.rsplit("/", 1)[1])
        self.close_connection = True
        if content is None or (isinstance(fault, str) and fault.isdecimal()):
            self.send_error(404 if content is None else int(fault))
            return
        if fault == "hang":
            threading.Event().wait(0.8)
            return
        begin = 0
        if asked and fault != "whole" and self.headers.get("If-Range") == site.etag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = bytearray(content[begin:])
        if fault == "wrong":
            body[-1] ^= 1
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.end_headers()
        end = len(body) // 2 if fault == "cut" else fault if isinstance(fault, int) else len(body)
        with contextlib.suppress(OSError):
            self.wfile.write(body[:end])


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site({"file.bin": CONTENT})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_cut_connection_is_continued_where_it_was(site: Site, tmp_path: Path) -> None:
    site.faults = [100_000, 0, 50_000]
    assert fetch(site.remote(), tmp_path, QUICK).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]


def test_a_second_run_continues_the_first(site: Site, tmp_path: Path) -> None:
    site.faults = [120_000, *[0] * QUICK.tries]
    with pytest.raises(UserError, match="4 times in a row") as caught:
        fetch(site.remote(), tmp_path, QUICK)
    assert (caught.value.code, caught.value.exit_code) == ("download-failed", INPUT_OUTPUT)
    assert not (tmp_path / "file.bin").exists()
    site.asked.clear()
    assert fetch(site.remote(), tmp_path, QUICK).read_bytes() == CONTENT
    assert site.asked == ["bytes=120000-"]
    assert fetch(site.remote(), tmp_path, QUICK).read_bytes() == CONTENT
    assert site.asked == ["bytes=120000-"], "a file that is there is not asked for"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_file_is_whole(seed: int, known: bool, site: Site, tmp_path: Path) -> None:
    """Faults at random, but of wrong bytes, which a server can send unnoticed if nobody knows the checksum."""
    rng = np.random.default_rng(seed)
    kinds = ["cut", "whole", "503", "429", "416", "", *([] if not known else ["wrong"])]
    picks = [
        kinds[int(rng.integers(len(kinds)))] if rng.random() < 0.6 else int(rng.integers(90_000)) for _ in range(9)
    ]
    site.faults = list(picks)
    found = None
    with contextlib.suppress(UserError):
        found = fetch(site.remote(known=known), tmp_path, QUICK).read_bytes()
    if found is None:
        assert not (tmp_path / "file.bin").exists()
        site.faults.clear()
        found = fetch(site.remote(known=known), tmp_path, QUICK).read_bytes()
    assert found == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("etags", [('"1"', '"2"'), (None, None), ('W/"1"', 'W/"2"')])
def test_two_versions_are_never_mixed(
    etags: tuple[str | None, str | None], known: bool, site: Site, tmp_path: Path
) -> None:
    site.files["file.bin"], site.etag = OTHER, etags[0]
    site.faults = [100_000, *[0] * QUICK.tries]
    with pytest.raises(UserError):
        fetch(site.remote(known=known), tmp_path, QUICK)
    site.files["file.bin"], site.etag, site.faults = CONTENT, etags[1], []
    assert fetch(site.remote(known=known), tmp_path, QUICK).read_bytes() == CONTENT


def headers(values: dict[str, str]) -> Message:
    message = Message()
    for name, value in values.items():
        message[name] = value
    return message


def test_another_version_in_the_middle_of_an_answer_is_noticed(site: Site, tmp_path: Path) -> None:
    """A server that takes no notice of If-Range and continues with another version."""
    site.faults = [100_000, *[0] * QUICK.tries]
    with pytest.raises(UserError):
        fetch(site.remote(), tmp_path, QUICK)
    part = transfer._Part(site.remote(), tmp_path)
    with pytest.raises(transfer._OutdatedError, match="another version"):
        part.begin(206, headers({"Content-Range": "bytes 100000-299999/300000", "ETag": '"2"'}))
    with pytest.raises(transfer._OutdatedError, match="0-9/300000"):
        part.begin(206, headers({"Content-Range": "bytes 0-9/300000", "ETag": '"1"'}))
    with pytest.raises(transfer._OutdatedError, match="more than the 300000 bytes"):
        part.append(bytes(200_001))


def test_wrong_bytes_are_fetched_again_and_then_refused(site: Site, tmp_path: Path) -> None:
    site.faults = ["wrong"]
    assert fetch(site.remote(), tmp_path / "a", QUICK).read_bytes() == CONTENT
    assert site.asked == [None, None]
    site.faults = ["wrong"] * 3
    with pytest.raises(UserError, match=r"has the MD5 \w+, not \w+") as caught:
        fetch(site.remote(), tmp_path / "b", QUICK)
    assert caught.value.code == "download-failed"
    assert not any((tmp_path / "b").iterdir())


def test_what_the_server_lacks_or_has_otherwise_is_said_at_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.bin: HTTP Error 404"):
        fetch(RemoteFile(f"{site.url}/none.bin"), tmp_path, QUICK)
    assert len(site.asked) == 1
    longer = RemoteFile(f"{site.url}/file.bin", size=len(CONTENT) + 5)
    with pytest.raises(UserError, match="has 300000 bytes, not 300005"):
        fetch(longer, tmp_path, QUICK)
    assert not any(tmp_path.iterdir())


def test_silence_ends(site: Site, tmp_path: Path) -> None:
    site.faults = ["hang"] * 2
    with pytest.raises(UserError, match="2 times in a row"):
        fetch(site.remote(), tmp_path, Patience(tries=2, timeout_s=0.1, first_wait_s=0.0))
    nobody = RemoteFile("http://127.0.0.1:9/file.bin")  # the discard port, closed
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/file\.bin: .*refused"):
        fetch(nobody, tmp_path, QUICK)


def test_another_file_of_that_name_is_left_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="exists and has 299999 bytes, not 300000") as caught:
        fetch(site.remote(), tmp_path, QUICK)
    assert caught.value.code == "not-writable"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT[:-1]
    assert site.asked == []


def zipped(files: dict[str, bytes], edit: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            edit(info)
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content) if kind == tarfile.REGTYPE else 0, "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


FILES = {"images/a.jpg": b"a" * 3000, "images/deep/b.jpg": b"b" * 10, "readme": b""}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_are_unpacked(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(pack(FILES))
    for _ in range(2):  # the same files again are no obstacle
        assert unpack.unpack(archive, tmp_path / "out") == 3
        assert read_all(tmp_path / "out") == FILES


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
        unpack.unpack(tmp_path / "deep" / "archive", folder)
    assert caught.value.code == "download-failed"
    assert read_all(tmp_path) == {"deep/archive": HOSTILE[case]}


def test_files_in_the_way_are_kept(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(zipped(FILES))
    (tmp_path / "out" / "images" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "images" / "deep" / "b.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"b\.jpg exists and differs") as caught:
        unpack.unpack(archive, tmp_path / "out")
    assert caught.value.code == "not-writable"
    assert read_all(tmp_path / "out") == {"images/deep/b.jpg": b"mine"}


def test_a_full_disk_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 30e9}))
    with pytest.raises(UserError, match=r"30\.0 GB are free .* (4\d)\.\d GB are needed for annotations_trainval2017"):
        download("coco", tmp_path / "coco")
    assert not (tmp_path / "coco").exists()


@pytest.fixture
def published(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A small dataset of two archives and one that comes only when asked for."""
    contents = {
        "annotations.zip": zipped({"annotations/a.json": b"{}"}),
        "images.tar.gz": tarred({"images/1.jpg": CONTENT}),
        "test.zip": zipped({"annotations/test.json": b"[]"}),
    }
    site.files = contents
    archives = tuple(
        Archive(name.split(".")[0], RemoteFile(f"http://127.0.0.1:9/{name}", len(data), hashlib.md5(data).hexdigest()))
        for name, data in contents.items()
    )
    monkeypatch.setitem(downloads.ARCHIVES, "mpii", archives)
    return site


def test_a_dataset_is_fetched_once(published: Site, tmp_path: Path) -> None:
    folder = tmp_path / "mpii"
    result = commands.download("mpii", mirror=published.url + "/", output=folder)
    assert result.figures == {"archives": ["annotations.zip", "images.tar.gz"]}
    files = {"annotations/a.json": b"{}", "images/1.jpg": CONTENT}
    assert {name: data for name, data in read_all(folder).items() if not name.startswith(".")} == files
    assert len(published.asked) == 2
    commands.download("mpii", mirror=published.url, output=folder)
    assert len(published.asked) == 2
    commands.download("mpii", only=["test"], mirror=published.url, output=folder)
    assert len(published.asked) == 3
    assert (folder / "annotations" / "test.json").read_bytes() == b"[]"


def test_an_interrupted_dataset_goes_on(published: Site, tmp_path: Path) -> None:
    published.faults = ["", 100_000, *["503"] * QUICK.tries]
    with pytest.raises(UserError, match="4 times in a row"):
        download("mpii", tmp_path, mirror=published.url, patience=QUICK)
    published.asked.clear()
    download("mpii", tmp_path, mirror=published.url, patience=QUICK)
    assert published.asked == ["bytes=100000-"]
    assert (tmp_path / "images" / "1.jpg").read_bytes() == CONTENT


def test_an_archive_of_the_users_stays(published: Site, tmp_path: Path) -> None:
    for name in ("annotations.zip", "images.tar.gz"):
        (tmp_path / name).write_bytes(published.files[name])
    download("mpii", tmp_path, mirror=published.url, patience=QUICK)
    assert published.asked == []
    assert (tmp_path / "images.tar.gz").read_bytes() == published.files["images.tar.gz"]


def test_a_damaged_archive_without_a_known_checksum_is_fetched_again(
    published: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = (Archive("annotations", RemoteFile("http://127.0.0.1:9/annotations.zip")),)
    monkeypatch.setitem(downloads.ARCHIVES, "mpii", unknown)
    good = published.files["annotations.zip"]
    published.files["annotations.zip"] = b"<html>busy</html>"
    with pytest.raises(UserError, match=r"annotations\.zip is damaged"):
        download("mpii", tmp_path, mirror=published.url, patience=QUICK)
    published.files["annotations.zip"] = good
    download("mpii", tmp_path, mirror=published.url, patience=QUICK)
    assert (tmp_path / "annotations" / "a.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "cocoa"}, "did you mean 'coco'"),
        ({"dataset": "coco", "only": ["vall"]}, "did you mean 'val'"),
        ({"dataset": "coco", "mirror": "file:///etc"}, "begins with http:// or https://"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        commands.download(**arguments, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_published_archives_are_plausible() -> None:
    remotes = [archive.remote for archives in downloads.ARCHIVES.values() for archive in archives]
    assert len({remote.name for remote in remotes}) == len(remotes)
    for remote in remotes:
        assert remote.md5 is None or (len(remote.md5) == 32 and int(remote.md5, 16))
        assert remote.size or remote.name in downloads.ABOUT
