"""Not a test: a server on this machine that misbehaves as told."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from posefabric.data.downloads.transfer import Patience, RemoteFile

QUICK = Patience(tries=4, restarts=2, timeout_s=0.5, first_wait_s=0.0)
CONTENT = np.random.default_rng(0).bytes(300_000)


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


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Site]:
    """The site, while its server runs."""
    site = Site(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield site
    server.shutdown()
    server.server_close()
    thread.join()
