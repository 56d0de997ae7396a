"""Whatever a stranger hands in as a checkpoint of PyTorch, its reader refuses in words; nothing of it is run."""

from __future__ import annotations

import pickle
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
from faults.bounded import outcome
from faults.hostile_pickles import CODE, GOOD, HARMLESS, NAME, PICKLES, archive

from posefabric.errors import UserError
from posefabric.foreign import read_foreign
from posefabric.foreign.unpacking import unpack

SLOWEST_S, MOST_GROWTH, ALWAYS_ALLOWED = 2.0, 2, 200 * 10**6
APART = ("reduce in an archive", "2^60 numbers in one")
"""Tried in the process of their own, too, in which a user's files are read."""


@pytest.fixture
def hostile(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / "net.pth"
    file.write_bytes(PICKLES[request.param](tmp_path / "canary"))
    return file


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
@pytest.mark.parametrize("hostile", sorted(PICKLES), indirect=True, ids=sorted(PICKLES))
def test_a_hostile_checkpoint_is_refused(hostile: Path, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["hostile"]
    found = outcome(partial(unpack, hostile))
    assert not (hostile.parent / "canary").exists()
    assert {path.name for path in hostile.parent.iterdir()} == {"net.pth"}
    assert found.code == "bad-weights" or (name in HARMLESS and found.code == ""), found
    assert found.seconds < SLOWEST_S
    assert found.grown < MOST_GROWTH * hostile.stat().st_size + ALWAYS_ALLOWED
    assert len(found.message) < 1000
    assert found.message.isprintable()


@pytest.mark.parametrize("hostile", APART, indirect=True)
def test_it_is_told_in_words_what_is_wrong_with_the_file(hostile: Path) -> None:
    with pytest.raises(UserError, match=r"net\.pth .*; to do: .* \[bad-weights\]") as caught:
        read_foreign(hostile)
    assert "Traceback" not in str(caught.value)
    assert not (hostile.parent / "canary").exists()


def test_a_good_one_is_read(tmp_path: Path) -> None:
    """The attacks stand on this file: it is not the form that is refused."""
    (tmp_path / "net.pth").write_bytes(archive(GOOD))
    assert {name: tuple(tensor.shape) for name, tensor in unpack(tmp_path / "net.pth").items()} == {NAME: (4, 4)}


@pytest.mark.parametrize("attack", ["reduce in an archive", "eval", "exec", "open", "chain of calls"])
def test_the_attacks_would_have_run(attack: str, tmp_path: Path) -> None:
    """Unpickled without care, they leave the canary."""
    (tmp_path / "net.pth").write_bytes(CODE[attack](tmp_path / "canary"))
    with zipfile.ZipFile(tmp_path / "net.pth") as opened:
        pickle.loads(opened.read("archive/data.pkl"))  # noqa: S301  that is the point
    assert (tmp_path / "canary").exists()
