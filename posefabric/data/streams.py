"""Files as strangers may hand them in: regular ones only, opened without waiting, read within limits.

Decoders of headers read piece by piece; a file of millions of pieces keeps them busy for minutes and fills the
memory, so pieces and header bytes are counted.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

MAX_BYTES = 48 * 2**20
"""Larger files are refused unread."""

MAX_HEADER_BYTES, MAX_HEADER_READS = 8 * 2**20, 2**16
MAX_READS = 2**20


class MeteredFile(io.BufferedReader):
    """A file that raises `OSError` once it was read more often, or further, than a picture needs.

    Until `header_is_read` the limits are those of a header. Reading all that is left counts as nothing.
    """

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__(raw)
        self._bytes_left, self._reads_left = MAX_HEADER_BYTES, MAX_HEADER_READS

    def header_is_read(self) -> None:
        """From here on pixels are read."""
        self._bytes_left, self._reads_left = MAX_BYTES * MAX_READS, MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            self._bytes_left -= size
            self._reads_left -= 1
            if min(self._bytes_left, self._reads_left) < 0:
                raise OSError("it is stuffed with more than a picture needs")
        return super().read(size)


def open_regular(path: Path) -> MeteredFile:
    """The file, open to read; pipes, devices, folders and large files raise `OSError` at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "it is not a regular file"
    elif status.st_size > MAX_BYTES:
        problem = f"it has {status.st_size // 2**20} MiB, more than {MAX_BYTES // 2**20}"
    if problem:
        os.close(descriptor)
        raise OSError(problem)
    return MeteredFile(io.FileIO(descriptor, "rb"))


def version(file: io.BufferedReader) -> tuple[int, int]:
    """What changes when somebody writes to the file: its size and time."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
