"""Calls of the system that fail: the Nth of those that write, with an error of one's choice.

The method is SQLite's: fail the first call, then the second, and so on until everything passes, and look each time at
what is left on disk.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

CALLS = ("open", "mkdir", "replace", "rename", "unlink", "rmdir", "fsync")
"""Functions of `os` that are counted, beside opening a file for writing and writing into it (`open` is of folders)."""

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


class Faults:
    """Counts calls; the one with the number `fail_at` raises, and, where a disk stays full, all further ones too."""

    def __init__(self, fail_at: int, error: int, *, lasting: bool = False) -> None:
        self.fail_at, self.error, self.lasting = fail_at, error, lasting
        self.count = 0

    def pass_or_fail(self, name: object) -> None:
        self.count += 1
        if self.count == self.fail_at or (self.lasting and self.count > self.fail_at):
            raise OSError(self.error, os.strerror(self.error), str(name))


class _Writer:
    """A file whose writes may fail."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: Any) -> Any:
        self._faults.pass_or_fail(getattr(self._file, "name", "file"))
        return self._file.write(data)

    def __enter__(self) -> _Writer:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def faults(fail_at: int, error: int, *, lasting: bool = False) -> Iterator[Faults]:
    """Inside, the call with that number (from 1) fails; 0 only counts."""
    plan = Faults(fail_at, error, lasting=lasting)
    honest_open = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return honest_open(file, mode, *arguments, **options)
        plan.pass_or_fail(file)
        return _Writer(honest_open(file, mode, *arguments, **options), plan)

    with mock.patch("io.open", opened), mock.patch("builtins.open", opened), _patched_calls(plan):
        yield plan


@contextmanager
def _patched_calls(plan: Faults) -> Iterator[None]:
    patches = []
    for name in CALLS:
        honest = getattr(os, name)

        def failing(*arguments: Any, _honest: Any = honest, **options: Any) -> Any:
            plan.pass_or_fail(arguments[0] if arguments else "")
            return _honest(*arguments, **options)

        patches.append(mock.patch.object(os, name, failing))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()
