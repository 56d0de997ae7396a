"""What strangers hand in is refused in words, at once, in bounded memory, and nothing of it is run."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults.bounded import Outcome, outcome, outcomes
from faults.hostile import JSON, PLACES, STRINGS, TENSORS, YAML, write_place
from small_runs import small_config, small_supernet

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.checkpoints import load_tensors
from posefabric.config import Config, override, read_config
from posefabric.data.sources import open_people
from posefabric.errors import CODES, UserError
from posefabric.experiments.spec import read_spec
from posefabric.handmade import known_head, read_description
from posefabric.models.cost import count
from posefabric.models.latency import read_table
from posefabric.recipes import recipe
from posefabric.released.case import read_case
from posefabric.runs import Run
from posefabric.settings import DataSettings
from posefabric.skeletons import named_skeleton, read_skeleton

Reader = Callable[[Path], Any]

YAML_READERS: dict[str, Reader] = {
    "config": lambda path: read_config(path, Config()),
    "experiment": read_spec,
    "dataset": lambda path: open_people(str(path), "train", DataSettings()),
    "skeleton": read_skeleton,
}
JSON_READERS: dict[str, Reader] = {
    "architecture": read_description,
    "latency table": read_table,
    "case": read_case,
    "run": lambda path: Run(path.parent).config,
}
WEIGHTS: dict[str, Reader] = {"weights": load_tensors}
TINY = small_supernet(small_config())

SLOWEST_S, MOST_GROWTH, ALWAYS_ALLOWED = 2.0, 2, 200 * 10**6
"""A refusal takes at most so long, and so many times the file and so many bytes."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything happens; a canary that is called by a relative name comes to be here, too."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(found: Outcome, size: int, folder: Path) -> None:
    """Refused in words, quickly, within memory; and nobody touched the canary."""
    assert found.code in CODES, found
    assert not list(folder.rglob("canary"))
    assert found.seconds < SLOWEST_S
    assert found.grown < MOST_GROWTH * size + ALWAYS_ALLOWED
    assert len(found.message) < 3000
    assert found.message.replace("\n", "").isprintable()


DOCUMENTS = {"document.yaml": (YAML, YAML_READERS), "run.json": (JSON, JSON_READERS)}


@pytest.mark.parametrize(("name", "attack"), [(name, attack) for name in DOCUMENTS for attack in DOCUMENTS[name][0]])
def test_a_hostile_document_is_refused(name: str, attack: str, folder: Path) -> None:
    attacks, readers = DOCUMENTS[name]
    file = folder / name
    file.write_text(attacks[attack](folder / "canary"), encoding="utf-8")
    for found in outcomes([partial(read, file) for read in readers.values()]):
        check(found, file.stat().st_size, folder)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_refused_without_waiting(place: str, folder: Path) -> None:
    if place == "unreadable" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    for name, readers in {"document.yaml": YAML_READERS, "run.json": JSON_READERS, "net.safetensors": WEIGHTS}.items():
        write_place(place, folder / name)
        for found in outcomes([partial(read, folder / name) for read in readers.values()]):
            check(found, 0, folder)


@pytest.mark.parametrize("attack", TENSORS)
def test_hostile_tensors_are_refused(attack: str, folder: Path) -> None:
    file = folder / "net.safetensors"
    file.write_bytes(TENSORS[attack]())
    check(outcome(partial(load_tensors, file)), file.stat().st_size, folder)


@pytest.mark.parametrize("text", STRINGS, ids=lambda text: repr(text[:24]))
def test_no_name_is_looked_up_beyond_its_table(text: str, folder: Path) -> None:
    """Code, paths and look-alikes in the place of names: of recipes, backbones, operations, parts and keypoints."""
    net = documents.to_data(TINY)
    renamed = {name: copy.deepcopy(net) for name in ("backbone", "operation", "kept", "part", "keypoint", "key")}
    renamed["backbone"]["backbone"] = {"name": text}
    renamed["operation"]["space"]["operations"][1] = text
    cells = renamed["kept"]["genotypes"]["all"]["cells"]
    cells[text] = next(iter(cells.values()))
    renamed["part"]["partition"] = {text: net["partition"]["all"]}
    renamed["keypoint"]["partition"]["all"][0] = text
    renamed["key"][text] = 1
    reads: list[Callable[[], Any]] = [
        *(partial(_built, data) for data in renamed.values()),
        *(partial(named, text) for named in (recipe, named_skeleton, known_head)),
        partial(override, Config(), [f"accelerator={json.dumps(text)}"]),
        partial(override, Config(), [f"{text}=1"]),
    ]
    for read in reads:
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).replace("\n", "").isprintable()
    assert not list(folder.rglob("canary"))


def _built(data: Any) -> None:
    count(documents.from_data(Architecture, data, code="bad-architecture", where="net"))
