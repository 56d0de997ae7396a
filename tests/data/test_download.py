"""Datasets are fetched and unpacked once, and go on where they stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bad_server import CONTENT, QUICK, Site, serving
from small_archives import read_all, tarred, zipped

from posefabric import commands
from posefabric.data.downloads import download as downloads
from posefabric.data.downloads import unpack
from posefabric.data.downloads.download import Archive, download
from posefabric.data.downloads.transfer import RemoteFile
from posefabric.errors import UserError


def test_a_full_disk_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 30e9}))
    with pytest.raises(UserError, match=r"30\.0 GB are free .* (4\d)\.\d GB are needed for annotations_trainval2017"):
        download("coco", tmp_path / "coco")
    assert not (tmp_path / "coco").exists()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A small dataset of two archives and one that comes only when asked for."""
    contents = {
        "annotations.zip": zipped({"annotations/a.json": b"{}"}),
        "images.tar.gz": tarred({"images/1.jpg": CONTENT}),
        "test.zip": zipped({"annotations/test.json": b"[]"}),
    }
    archives = tuple(
        Archive(name.split(".")[0], RemoteFile(f"http://127.0.0.1:9/{name}", len(data), hashlib.md5(data).hexdigest()))
        for name, data in contents.items()
    )
    monkeypatch.setitem(downloads.ARCHIVES, "mpii", archives)
    with serving(contents) as site:
        yield site


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
