"""Files of PyTorch that others made: tensors come out of them as they are, and nothing else does."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posefabric.checkpoints import save_tensors
from posefabric.errors import UserError
from posefabric.foreign import read_foreign
from posefabric.foreign.unpacking import unpack

STATE = {"norm.weight": torch.rand(5), "norm.num_batches_tracked": torch.tensor(7), "half": torch.rand(2, 3).half()}


class Model(nn.Linear):
    """Code of somebody's."""


class Touch:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def saved(content: Any, *, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def renamed(change: Callable[[str], str], compression: int = zipfile.ZIP_STORED, further: int = 0) -> bytes:
    """A saved state dict whose members somebody wrote anew."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as source, zipfile.ZipFile(target, "w", compression) as archive:
        for name in source.namelist():
            archive.writestr(change(name), source.read(name))
        for number in range(further):
            archive.writestr(f"archive/data/{number + 100}", b"")
    return target.getvalue()


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in STATE.items()
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_out_as_they_went_in(legacy: bool, tmp_path: Path) -> None:
    file = tmp_path / "net_ckpt.tar"
    scheduler = torch.optim.lr_scheduler.MultiStepLR(torch.optim.Adam([torch.zeros(1)]), [90, 120])
    training = {"epoch": 3, "model": STATE, "best_result": 0.7, "scheduler": scheduler.state_dict()}
    for content in (STATE, training):
        file.write_bytes(saved(content, legacy=legacy))
        assert same(unpack(file))


def test_another_process_reads_and_imports_nothing_from_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('imported from the folder of a download')")
    (tmp_path / "net.pth").write_bytes(saved(STATE, legacy=True))
    monkeypatch.chdir(tmp_path)
    assert same(read_foreign(Path("net.pth")))


def test_safetensors_are_read_as_they_are(tmp_path: Path) -> None:
    save_tensors(tmp_path / "net.pth", STATE)
    assert same(read_foreign(tmp_path / "net.pth"))


def test_code_is_named_and_not_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "net.pth", tmp_path / "trace"
    for legacy in (False, True):
        file.write_bytes(saved(Model(1, 1), legacy=legacy))
        with pytest.raises(UserError, match=r"more than tensors: .*Model, which is code.*state_dict"):
            unpack(file)
        file.write_bytes(saved({**STATE, "extra": Touch(trace)}, legacy=legacy))
        with pytest.raises(UserError, match="more than tensors"):
            unpack(file)
    file.write_bytes(pickle.dumps({"extra": Touch(trace)}))
    with pytest.raises(UserError, match="is a pickle"):
        unpack(file)
    assert not trace.exists()


def test_a_file_that_claims_gigabytes_gets_none(tmp_path: Path) -> None:
    """A legacy file of some hundred bytes whose storage says that it has 10^12 numbers."""
    whole = saved({"a": torch.zeros(3)}, legacy=True)
    claim = b"K\x03Nt" if b"K\x03Nt" in whole else b"K\x03N"
    assert whole.count(claim) == 1
    file = tmp_path / "bomb.pth"
    file.write_bytes(whole.replace(claim, b"\x8a\x06" + (10**12).to_bytes(6, "little") + claim[2:]))
    with pytest.raises(UserError, match=r"bomb.pth .*memory"):
        read_foreign(file)


@cache
def damaged() -> dict[str, tuple[bytes, str]]:
    """Name -> a file that is refused, and what is said."""
    zipped, legacy = saved(STATE), saved(STATE, legacy=True)
    encrypted = bytearray(zipped)
    directory = zipped.index(b"PK\x01\x02")
    encrypted[directory + 8] |= 1
    overlapping = bytearray(zipped)
    struct.pack_into("<I", overlapping, zipped.index(b"PK\x01\x02", directory + 1) + 42, 0)
    return {
        "cut": (zipped[:-30], "cut short"),
        "cut legacy": (legacy[:-3], "cut short"),
        "half legacy": (legacy[: len(legacy) // 2], "cut short"),
        "encrypted": (bytes(encrypted), "encrypted"),
        "overlapping": (bytes(overlapping), "overlap"),
        "crowd": (renamed(str, further=40_000), "holds 400.. members"),
        "compressed": (renamed(str, zipfile.ZIP_DEFLATED), "compressed member"),
        "outside": (renamed(lambda name: f"../{name}"), "with the name"),
        "absolute": (renamed(lambda name: f"/{name}"), "with the name"),
        "several files": (renamed(lambda name: name.replace("/", "_")), "archive of"),
        "script": (renamed(lambda name: name.replace("version", "code/a.py")), "TorchScript"),
        "other archive": (renamed(lambda name: f"{name}x"), "not one of torch.save"),
        "two state dicts": (saved({"net": STATE, "ema": STATE}), "several state dicts: net, ema"),
        "a tensor": (saved(torch.zeros(2)), "holds a Tensor"),
        "no tensors": (saved({"epoch": 1}), "no state dict, but epoch"),
        "numbered": (saved({1: torch.zeros(1)}), "names a tensor '1'"),
        "unnamed": (saved({"a\x1b[2J": 1}), r"no state dict, but a\?\[2J"),
        "escapes": (saved({"a\x1b[2J": torch.zeros(1)}), "names a tensor"),
        "complex": (saved({"a": torch.zeros(1, dtype=torch.complex64)}), "complex64"),
        "sparse": (saved({"a": torch.eye(3).to_sparse()}), "dense tensors"),
        "expanded": (saved({"a": torch.zeros(1).expand(10**9)}), "4000.0 MB of tensors"),
        "empty": (b"", "is empty"),
        "web page": (b"<!DOCTYPE html><title>Quota exceeded</title>", "web page"),
        "gzip": (b"\x1f\x8b\x08rest", "gzip"),
        "tar": (b"a" * 257 + b"ustar  ", "tar archive"),
        "text": (b"epoch,loss\n", "no file of tensors"),
    }  # fmt: skip


@pytest.mark.parametrize("name", damaged())
def test_what_is_refused_is_told(name: str, tmp_path: Path) -> None:
    content, told = damaged()[name]
    file = tmp_path / "net.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        unpack(file)
    assert caught.value.code == "bad-weights"
