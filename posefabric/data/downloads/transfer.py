"""Fetching one published file over HTTP, before the walk: what arrived is kept, the rest is asked for again.

A file grows as `NAME.part`; `NAME.part.json` says which version of which address it is the beginning of. It gets
its own name when it is whole and what was published.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from posefabric.errors import UserError
from posefabric.progress import ByteProgress
from posefabric.runs import make_folder, write_atomic

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_TRANSIENT = (408, 425, 429)
"""Answers of the 4xx kind after which the same question may be answered; those of the 5xx kind are all so."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file; `size` in bytes and `md5` (hexadecimal) where they are publicly known."""

    url: str
    size: int | None = None
    md5: str | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Patience:
    """How often in a row nothing may arrive, and how long to wait: for an answer, and before asking again."""

    tries: int = 6
    restarts: int = 2
    timeout_s: float = 30.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0


PATIENCE = Patience()


class _OutdatedError(Exception):
    """What is here is not the beginning of what the server has."""


def fetch(remote: RemoteFile, folder: Path, patience: Patience = PATIENCE) -> Path:
    """The file in the folder, downloaded unless it is there already; a download that was cut off is continued.

    Raises `UserError`: "download-failed" if the server does not give it or gives another file than was published,
    "not-writable" if a file of its name is there that is another.
    """
    target = folder / remote.name
    if target.exists():
        if difference := _difference(remote, target):
            raise UserError(
                "not-writable", f"{target} exists and {difference}", "no file of that name, or the published one"
            )
        return target
    make_folder(folder)
    part = _Part(remote, folder)
    for restart in range(patience.restarts + 1):
        try:
            _fill(part, patience)
        except _OutdatedError as error:
            problem = str(error)
        else:
            problem = _difference(remote, part.path)
            if not problem:
                part.finish(target)
                return target
        part.discard()
        if restart < patience.restarts:
            logger.warning("%s: %s; starting over", remote.name, problem)
    raise UserError(
        "download-failed", f"{remote.url}: {problem}", "the published file", "Try later, or another --mirror."
    )


def _difference(remote: RemoteFile, path: Path) -> str:
    """In what a file differs from what was published; empty if in nothing that is known."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"has {size} bytes, not {remote.size}"
    if remote.md5 is None:
        return ""
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return "" if md5 == remote.md5 else f"has the MD5 {md5}, not {remote.md5}"


def _fill(part: _Part, patience: Patience) -> None:
    """Ask until the part is whole; give up when nothing new arrived for some times in a row."""
    most, fruitless, reason = part.size, 0, ""
    with ByteProgress(part.remote.name) as progress:
        while not part.whole:
            try:
                _ask(part, patience.timeout_s, progress)
                reason = "the connection was cut"
            except (OSError, http.client.HTTPException) as error:
                cause = error.reason if type(error) is urllib.error.URLError else error
                reason = str(cause) or type(error).__name__
            if part.whole:
                return
            fruitless = 0 if part.size > most else fruitless + 1
            most = max(most, part.size)
            if fruitless >= patience.tries:
                given = f"{part.remote.url}: {reason}, {fruitless} times in a row"
                raise UserError("download-failed", given, "an answer", "Try later: what arrived is kept.")
            wait_s = min(patience.first_wait_s * 2**fruitless, patience.longest_wait_s)
            logger.info("%s: %s at %d bytes; asking again in %.0f s", part.remote.name, reason, part.size, wait_s)
            time.sleep(wait_s)


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web addresses; urllib itself would follow them to FTP, too."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(newurl, code, "redirected to what is no web address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_WebOnly)


def _ask(part: _Part, timeout_s: float, progress: ByteProgress) -> None:
    """One request for what is missing, and whatever the answer brings."""
    headers = {"User-Agent": "posefabric", "Accept-Encoding": "identity"}
    if part.size and part.version:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.version}
    request = urllib.request.Request(part.remote.url, headers=headers)
    try:
        answer = _opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise _OutdatedError("the server's file is shorter than what is here") from error
        if error.code >= 500 or error.code in _TRANSIENT:
            raise
        raise UserError("download-failed", f"{part.remote.url}: {error}", "an address that is there") from error
    with answer:
        part.begin(answer.status, answer.headers)
        progress.update(part.size, part.total)
        while block := answer.read(_BLOCK):
            part.append(block)
            progress.update(part.size, part.total)
    if part.total is None:  # only a whole answer without a length ends without an error
        part.total = part.size


class _Part:
    """The beginning of a file on disk, and which version of it: its ETag or date, its length once known."""

    def __init__(self, remote: RemoteFile, folder: Path) -> None:
        self.remote = remote
        self.path, self.note = folder / f"{remote.name}.part", folder / f"{remote.name}.part.json"
        noted = self._noted()
        self.version: str | None = noted.get("version")
        self.total: int | None = noted.get("total")
        self.size = self.path.stat().st_size if self.version and self.path.is_file() else 0

    @property
    def whole(self) -> bool:
        return self.total is not None and self.size == self.total

    def begin(self, status: int, headers: Message) -> None:
        """Take an answer's headers: continue, start from nothing, or raise `_OutdatedError`."""
        version = _version(headers)
        if status == 206:
            place = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            if not place or int(place[1]) != self.size or int(place[2]) != self.total:
                raise _OutdatedError(
                    f"the server sent {headers.get('Content-Range')} where {self.size} of {self.total} are here"
                )
            if version != self.version:
                raise _OutdatedError("the server has another version than that which began to arrive")
            return
        length = headers.get("Content-Length")
        self.version, self.total, self.size = version, int(length) if length and length.isdecimal() else None, 0
        if None not in (self.total, self.remote.size) and self.total != self.remote.size:
            raise _OutdatedError(f"the server's file has {self.total} bytes, not {self.remote.size}")
        with _writing(self.path):
            self.path.write_bytes(b"")
        write_atomic(self.note, json.dumps({"url": self.remote.url, "version": self.version, "total": self.total}))

    def append(self, block: bytes) -> None:
        if self.total is not None and self.size + len(block) > self.total:
            raise _OutdatedError(f"the server sent more than the {self.total} bytes it had announced")
        with _writing(self.path), self.path.open("ab") as file:
            file.write(block)
        self.size += len(block)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.version, self.total, self.size = None, None, 0

    def finish(self, target: Path) -> None:
        os.replace(self.path, target)
        self.note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) and noted.get("url") == self.remote.url else {}


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of the disk, told apart from those of the network."""
    try:
        yield
    except OSError as error:
        raise UserError("not-writable", f"cannot write {path}: {error.strerror}") from error


def _version(headers: Message) -> str | None:
    """What `If-Range` may be asked with: a strong ETag, or else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
