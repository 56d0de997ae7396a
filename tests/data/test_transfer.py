"""Files from a server that misbehaves: what arrives is the published file, or a clear error."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import numpy as np
import pytest
from bad_server import CONTENT, QUICK, Site, serving

from posefabric.data.downloads import transfer
from posefabric.data.downloads.transfer import Patience, RemoteFile, fetch
from posefabric.errors import INPUT_OUTPUT, UserError

OTHER = np.random.default_rng(1).bytes(280_000)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving({"file.bin": CONTENT}) as site:
        yield site


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


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x", "file:///etc/hosts"])
def test_redirects_lead_to_web_addresses_only(address: str) -> None:
    handler = transfer._WebOnly()
    request = urllib.request.Request("http://127.0.0.1/archive.zip")
    with pytest.raises(urllib.error.HTTPError, match="no web address"):
        handler.redirect_request(request, None, 302, "Found", {}, address)
    assert handler.redirect_request(request, None, 302, "Found", {}, "http://localhost/y") is not None
