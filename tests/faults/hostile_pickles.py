"""Hostile `.pt` files: what may be in a checkpoint that a stranger hands in, as bytes; none is ever written by torch.

`PICKLES` maps the name of an attack to its maker. A maker is given the canary, a path that comes to be if what the
file holds is run, and gives the file's content. Those of `CODE` try to run something.
"""

from __future__ import annotations

import builtins
import importlib
import io
import operator
import os
import pickle
import struct
import subprocess
import tarfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Maker = Callable[[Path], bytes]
Sizes = tuple[int, ...]

HUGE = 2**60
NAME = "backbone.stem.0.weight"
"""A key that the state of a net may well have."""


class Call:
    """Pickled, it is a call that unpickling makes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


class Storage:
    """Pickled, it refers to a record of the archive that is said to hold so many numbers."""

    def __init__(self, numbers: int, kind: Any = torch.FloatStorage, key: str = "0", device: str = "cpu") -> None:
        self.reference = ("storage", kind, key, device, numbers)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.reference if isinstance(value, Storage) else None


def pickled(value: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def tensor(storage: Storage, size: Sizes, stride: Sizes, offset: int = 0) -> Call:
    """What torch writes for a tensor, with any claims."""
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


def archive(content: bytes, records: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as `torch.save` lays it out: a pickle beside one record per storage."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, record in {"data.pkl": content, "byteorder": b"little", "version": b"3\n"}.items():
            file.writestr(f"archive/{name}", record)
        for name, record in ({"0": bytes(64)} if records is None else records).items():
            file.writestr(f"archive/data/{name}", record)
    return stream.getvalue()


def old(content: bytes) -> bytes:
    """A file as torch wrote it before 1.6: pickles one after the other, and the numbers behind them."""
    return pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled({"little_endian": True}) + content


def weights(storage: Storage, *claims: Any, record: int = 64) -> bytes:
    """An archive of one tensor, whose record has so many bytes."""
    return archive(pickled({NAME: tensor(storage, *claims)}), {"0": bytes(record)})


GOOD = pickled({NAME: tensor(Storage(16), (4, 4), (4, 1))})


def _touch(canary: Path) -> str:
    return f"touch '{canary}'"


def _nested_global(canary: Path) -> bytes:
    """A function that is reached through the attributes of an allowed module."""
    name = b"\x8c\x13torch.serialization" + b"\x8c\x09os.system" + pickle.STACK_GLOBAL
    command = _touch(canary).encode()
    text = pickle.BINUNICODE + struct.pack("<I", len(command)) + command
    return archive(b"\x80\x04" + name + text + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP)


def _chain(canary: Path) -> bytes:
    """`getattr(import_module("os"), "system")(...)`, each step a call."""
    found = Call(getattr, Call(importlib.import_module, "os"), "system")
    command = pickled(found)[2:-1] + pickled((_touch(canary),))[2:-1]
    return archive(b"\x80\x02" + command + pickle.REDUCE + pickle.STOP)


def _whole_model(canary: Path) -> bytes:
    """A module saved whole: its class is looked up by name, and told its state."""
    stream = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), stream)
    return stream.getvalue()


def _script(canary: Path) -> bytes:
    """A TorchScript archive, which brings its own code."""
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), stream)
    return stream.getvalue()


def _two_pickles(canary: Path) -> bytes:
    """The name of the pickle twice in one archive: a good one, and one that runs something."""
    stream = io.BytesIO(archive(GOOD))
    with zipfile.ZipFile(stream, "a") as file, warnings.catch_warnings(action="ignore"):
        file.writestr("archive/data.pkl", pickled(Call(os.system, _touch(canary))))
    return stream.getvalue()


def _tar(canary: Path) -> bytes:
    """The oldest format of torch: a tar archive of three pickles."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name in ("storages", "tensors", "pickle"):
            content = pickled(Call(os.system, _touch(canary)))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return stream.getvalue()


CODE: dict[str, Maker] = {
    "reduce": lambda canary: pickled(Call(os.system, _touch(canary))),
    "reduce in an archive": lambda canary: archive(pickled({NAME: Call(os.system, _touch(canary))})),
    "reduce in the old form": lambda canary: old(pickled({NAME: Call(os.system, _touch(canary))})),
    "eval": lambda canary: archive(pickled({NAME: Call(builtins.eval, f"open({str(canary)!r}, 'w')")})),
    "exec": lambda canary: archive(pickled(Call(builtins.exec, f"open({str(canary)!r}, 'w')"))),
    "open": lambda canary: archive(pickled({NAME: Call(open, str(canary), "w")})),
    "process": lambda canary: archive(pickled(Call(subprocess.Popen, ("touch", str(canary))))),
    "nested global": _nested_global,
    "chain of calls": _chain,
    "method caller": lambda canary: archive(pickled(Call(operator.methodcaller("touch"), canary))),
    "two pickles": _two_pickles,
    "tar": _tar,
    "whole model": _whole_model,
    "script": _script,
}


def _laughs(canary: Path) -> bytes:
    """Sixty lists, each holding the one before twice: small in memory, endless to whoever walks it."""
    value: Any = []
    for _ in range(60):
        value = [value, value]
    return archive(pickled({NAME: value}))


def _in_itself(canary: Path) -> bytes:
    state: dict[str, Any] = {}
    state[NAME] = state
    return archive(pickled(state))


def _inflating(canary: Path) -> bytes:
    """Two gigabytes of zeros, deflated to two megabytes."""
    size, block = 2**31, zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = block.compress(bytes(2**20)) + block.flush(zlib.Z_FULL_FLUSH)
    deflated = piece * (size // 2**20) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    return _with_raw_record(deflated, size, zipfile.ZIP_DEFLATED, Storage(size // 4))


def _with_raw_record(data: bytes, size: int, compression: int, storage: Storage) -> bytes:
    """An archive whose one record is given as it lies in the file, with a claimed size."""
    stream = io.BytesIO(archive(pickled({NAME: tensor(storage, (storage.reference[4],), (1,))}), {}))
    with zipfile.ZipFile(stream, "a") as file:
        info = zipfile.ZipInfo("archive/data/0")
        file.writestr(info, data)
        info.compress_type, info.file_size = compression, size
        start = info.header_offset
    content = bytearray(stream.getvalue())
    struct.pack_into("<H", content, start + 8, compression)
    struct.pack_into("<I", content, start + 22, size)
    return bytes(content)


def _overlapping(canary: Path) -> bytes:
    """A thousand entries of the directory that all name the same eight megabytes."""
    numbers = 2**21
    state = {f"{NAME}{i}": tensor(Storage(numbers, key=str(i)), (numbers,), (1,)) for i in range(1000)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickled(state))
        file.writestr("archive/version", b"3\n")
        file.writestr("archive/data/0", bytes(4 * numbers))
        for i in range(1, 1000):
            info = zipfile.ZipInfo(f"archive/data/{i}")
            like = file.getinfo("archive/data/0")
            for field in ("file_size", "compress_size", "CRC", "header_offset"):
                setattr(info, field, getattr(like, field))
            file.filelist.append(info)
    return stream.getvalue()


def _crowd(canary: Path) -> bytes:
    """Forty thousand entries."""
    return archive(GOOD, {"0": bytes(64)} | {str(i): b"" for i in range(1, 40_000)})


def _named(name: str, attributes: int = 0) -> Maker:
    def make(canary: Path) -> bytes:
        stream = io.BytesIO(archive(GOOD))
        with zipfile.ZipFile(stream, "a") as file:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, attributes << 16
            file.writestr(info, str(canary))
        return stream.getvalue()

    return make


BOMBS: dict[str, Maker] = {
    "marks without end": lambda canary: archive(b"\x80\x02" + b"(" * 5_000_000),
    "marks in the old form": lambda canary: old(b"\x80\x02" + b"(" * 400_000),
    "tuples in tuples": lambda canary: archive(b"\x80\x02)" + pickle.TUPLE1 * 400_000 + b"."),
    "lists in lists": lambda canary: archive(b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."),
    "laughs": _laughs,
    "a dict in itself": _in_itself,
    "a text of 2^62 bytes": lambda canary: archive(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"."),
    "an integer of 2^30 bytes": lambda canary: archive(b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b"."),
    "place 2^31 in the memo": lambda canary: archive(b"\x80\x02]r\xff\xff\xff\x7f."),
    "a million numbers": lambda canary: archive(pickled({i: i for i in range(1_000_000)})),
    "inflating": _inflating,
    "overlapping entries": _overlapping,
    "a crowd of entries": _crowd,
    "an entry above the folder": _named("../../escaped"),
    "an absolute entry": _named("/escaped"),
    "a link": _named("archive/data/1", 0o120777),
}

CLAIMS: dict[str, Maker] = {
    "more than the storage": lambda canary: weights(Storage(16), (1024, 1024), (1024, 1)),
    "behind the storage": lambda canary: weights(Storage(16), (4,), (1,), HUGE),
    "2^60 numbers in one": lambda canary: weights(Storage(1), (HUGE,), (0,), record=4),
    "2^64 numbers in one": lambda canary: weights(Storage(1), (2**32, 2**32), (0, 0), record=4),
    "a storage of 2^60 numbers": lambda canary: weights(Storage(HUGE), (4,), (1,)),
    "a storage of 2^32 numbers in the old form": lambda canary: old(pickled({NAME: _old_tensor(2**32)})),
    "a storage of half a number": lambda canary: weights(Storage(16, torch.DoubleStorage), (16,), (1,)),
    "a storage that is not there": lambda canary: weights(Storage(16, key="1"), (4,), (1,)),
    "a storage above the folder": lambda canary: weights(Storage(16, key="../version"), (4,), (1,)),
    "a negative size": lambda canary: weights(Storage(16), (-4,), (1,)),
    "a negative stride": lambda canary: weights(Storage(16), (4,), (-1,)),
    "a device that is not there": lambda canary: weights(Storage(16, device="cuda:4096"), (4, 4), (4, 1)),
    "a sparse tensor of 2^60 numbers": lambda canary: archive(pickled({NAME: _sparse()})),
    "a tensor without numbers": lambda canary: archive(pickled({NAME: _meta()})),
    "text for a tensor": lambda canary: archive(pickled({NAME: "weights"})),
    "numbers for names": lambda canary: archive(pickled({1: tensor(Storage(16), (4, 4), (4, 1))})),
    "a list": lambda canary: archive(pickled([tensor(Storage(16), (4, 4), (4, 1))])),
    "a name of 10 MB": lambda canary: archive(pickled({NAME * 500_000: tensor(Storage(16), (4,), (1,))})),
    "a name that clears the screen": lambda canary: archive(pickled({"\x1b[2J": tensor(Storage(16), (4,), (1,))})),
    "nothing": lambda canary: b"",
    "text": lambda canary: b"weights\n" * 10,
    "half an archive": lambda canary: archive(GOOD)[:-100],
    "an archive without a pickle": lambda canary: archive(GOOD).replace(b"data.pkl", b"data.txt"),
}


def _old_tensor(numbers: int) -> Call:
    storage = Storage(numbers)
    storage.reference = (*storage.reference, None)  # type: ignore[assignment]
    return tensor(storage, (4,), (1,))


def _sparse() -> Call:
    indices, values = tensor(Storage(8, torch.LongStorage), (1, 1), (1, 1)), tensor(Storage(16), (1,), (1,))
    return Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, (indices, values, (HUGE,), False))


def _meta() -> Call:
    return Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (HUGE,), (1,), False)


PICKLES: dict[str, Maker] = {**CODE, **BOMBS, **CLAIMS}

HARMLESS = {"a link", "a device that is not there"}
"""What a reader may also read, as it looks neither at entries that nothing refers to nor at devices."""
