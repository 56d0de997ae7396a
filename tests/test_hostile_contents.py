"""Files that are well formed and say what cannot be: random changes of good ones are read, or refused in words."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.hostile import STRINGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from sizes import LONG
from small_runs import small_config, small_supernet
from torch import Tensor

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.backbone import Backbone
from posefabric.checkpoints import MANIFEST, TREE, latest_checkpoint, save_checkpoint
from posefabric.config import Config, merge
from posefabric.engine.keeping import Keeper
from posefabric.errors import UserError
from posefabric.handmade import HandMade, read_description
from posefabric.models.cost import count
from posefabric.models.net import MOST_PARAMETERS, build
from posefabric.optimization import WeightLearner
from posefabric.predictor import inherit
from posefabric.runs import Run, to_text
from posefabric.skeletons import COCO17

NETS = [
    documents.to_data(small_supernet(small_config())),
    documents.to_data(small_supernet(small_config("model.parts=3", "backbone.name=fabric1"))),
    documents.to_data(HandMade.published("residual", COCO17, Backbone("resnet18"), (64, 64), parts="3")),
]
VALUES = (
    *(None, True, False, 0, -1, 1, 2, 3, 31, 64, 1e-3, -1.5, 1e300, 10**6, 2**31, 2**63, 2**64, 10**30),
    *([], {}, [[]], [1], [64, 64], [10**9, 10**9], [1, 2, 4, 8], ["zero"], {"same": 1.0}, math.nan, math.inf),
    *("first", "every", "omit", "fabric", "resnet50", "linear"),
)

Place = tuple[str | int, ...]


def places(data: Any, here: Place = ()) -> Iterator[Place]:
    """Where in nested data something stands, shallow and deep."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for step, below in pairs:
        yield (*here, step)
        yield from places(below, (*here, step))


def changed(draw: st.DrawFn, data: Any) -> Any:
    """A copy with one to three things removed, renamed, doubled or replaced."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 3))):
        found = sorted(places(data), key=lambda place: (len(place), str(place)))
        if not found:
            break
        *above, last = draw(st.sampled_from(found))
        holder = data
        for step in above:
            holder = holder[step]
        how = draw(st.sampled_from(["remove", "rename", "double", "text", "value", "value"]))
        if how == "remove":
            del holder[last]
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(STRINGS))] = holder.pop(last)
        elif how == "double" and isinstance(holder, list):
            holder.extend(copy.deepcopy(holder))
        elif how == "text":
            holder[last] = draw(st.sampled_from(STRINGS))
        else:
            holder[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return data


@st.composite
def nets(draw: st.DrawFn) -> Any:
    return changed(draw, draw(st.sampled_from(NETS)))


@st.composite
def configs(draw: st.DrawFn) -> Any:
    return changed(draw, Config().data_form())


def refusal(read: Callable[[], Any]) -> str:
    """What a user is told; nothing where there is no objection."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


EXAMPLES = 500 if LONG else 25
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net") / "architecture.json"


@pytest.mark.long
@FUZZ
@given(net=nets())
def test_a_changed_architecture_is_built_or_refused(net: Any, file: Path) -> None:
    file.write_text(json.dumps(net))
    told = refusal(lambda: count(read_description(file)))
    assert told.replace("\n", "").isprintable()


@pytest.mark.long
@FUZZ
@given(change=configs())
def test_a_changed_configuration_is_read_or_refused(change: Any) -> None:
    told = refusal(lambda: merge(Config(), change, "config"))
    assert told.replace("\n", "").isprintable()


def test_a_net_that_no_memory_holds_is_refused_before_it_is_built() -> None:
    data = copy.deepcopy(NETS[0])
    data["widths"] = {"all": [65536] * 4}
    net = documents.from_data(Architecture, data, code="bad-architecture", where="net")
    with pytest.raises(UserError, match=f"more than {MOST_PARAMETERS:,} parameters") as caught:
        build(net)
    assert caught.value.code == "bad-architecture"
    assert sum(p.numel() for p in build(small_supernet(small_config())).parameters()) < MOST_PARAMETERS


def weights(change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Those of a small net, the first of them changed."""
    state = dict(build(small_supernet(small_config())).state_dict())
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    return {**state, name: change(state[name])}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda tensor: tensor.fill_(torch.nan), "holds numbers that are not finite"),
        (lambda tensor: tensor.fill_(-torch.inf), "holds numbers that are not finite"),
        (lambda tensor: tensor.to(torch.int64), "holds numbers of torch.int64; allowed: torch.float32"),
        (lambda tensor: tensor.to(torch.bool), "holds numbers of torch.bool"),
        (lambda tensor: tensor.to(torch.complex64), "holds numbers of torch.complex64"),
        (lambda tensor: tensor[:1, :1], "has the shape"),
        (lambda tensor: tensor[None], "has the shape"),
        (lambda tensor: torch.zeros(()), "has the shape"),
    ],
)
def test_weights_are_finite_numbers_of_their_kind(change: Callable[[Tensor], Tensor], found: str) -> None:
    net = build(small_supernet(small_config()))
    inherit(net, weights(lambda tensor: tensor.to(torch.bfloat16)))
    with pytest.raises(UserError, match=found) as caught:
        inherit(net, weights(change))
    assert caught.value.code == "bad-weights"


TREES: dict[str, Any] = {
    "a tensor that is not there": {"tensor": "7", "channels_last": False},
    "a tensor with a list for a name": {"tensor": [], "channels_last": False},
    "half a tensor": {"tensor": "0"},
    "keys without values": {"keys": ["a"]},
    "more keys than values": {"keys": ["a", "b"], "values": [1]},
    "lists for keys": {"keys": [[1]], "values": [1]},
    "a number for keys": {"keys": 1, "values": 2},
    "channels last of one axis": {"tensor": "0", "channels_last": True},
}


@pytest.mark.parametrize("tree", TREES)
def test_a_checkpoint_whose_digests_are_right_is_passed_over_too(tree: str, tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"x": torch.ones(3)}, {})
    folder = tmp_path / "checkpoints" / "step-2"
    (folder / TREE).write_text(json.dumps(TREES[tree]))
    forge(folder)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == 1


@pytest.mark.parametrize("change", [{"step": "2"}, {"step": None}, {"format": 2}, {"sha256": []}, {"sha256": None}])
def test_a_forged_manifest_is_passed_over(change: dict[str, Any], tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"x": torch.ones(3)}, {})
    forge(tmp_path / "checkpoints" / "step-2", **change)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == 1


def forge(folder: Path, **change: Any) -> None:
    """Make the digests of a checkpoint those of its files, as somebody could who changed them on purpose."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.pop("digest")
    manifest["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["sha256"]}
    manifest |= change
    digest = hashlib.sha256(to_text(manifest).encode()).hexdigest()
    (folder / MANIFEST).write_text(to_text({**manifest, "digest": digest}))


@pytest.mark.parametrize("state", [{}, {"net": 1}, {"net": {}}, {"net": {"x": torch.ones(3)}, "optimizer": {}}])
def test_a_state_of_something_else_is_named(state: dict[str, Any], tmp_path: Path) -> None:
    """Whole, of this very run by its configuration, and made by hand."""
    run = Run.start(tmp_path / "run", "train", small_config().data_form(), {})
    save_checkpoint(run.path, 3, state, {"config": run.record["config"]})
    net = build(small_supernet(small_config()))
    learner = WeightLearner(Fabric(accelerator="cpu"), net, small_config(), small_config().train, 4)
    with pytest.raises(UserError, match=r"the checkpoint of step 3 .* holds no state of this run") as caught:
        Keeper(run, learner).restore()
    assert caught.value.code == "bad-run"
