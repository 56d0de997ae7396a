"""Architectures survive JSON, and every field that contradicts another is named."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies_architecture import Search, searches, tiny_supernet

from posefabric import documents
from posefabric.architecture import Architecture, read_architecture, supernet
from posefabric.backbone import FABRIC_SPACES, Backbone, fabric_backbone
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype, everything, prune
from posefabric.models.net import PoseNet
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace

SITE = "layer4_stride8"
Data = dict[str, Any]


def read(data: Data) -> Architecture:
    return documents.from_data(Architecture, data, code="bad-architecture", where="architecture")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(searches())
def test_json_and_back_gives_an_equal_architecture_and_the_same_net(search: Search) -> None:
    (found,) = search.found
    text = documents.to_json(found)
    again = documents.from_json(Architecture, text, code="bad-architecture", where="text")
    assert again == found
    assert documents.to_json(again) == text
    assert again.fabrics() == found.fabrics()


@pytest.mark.parametrize("partition", COCO17.partitions)
def test_the_net_of_a_read_architecture_has_the_same_state(partition: str, tmp_path: Path) -> None:
    whole = tiny_supernet(partition)
    (tmp_path / "architecture.json").write_text(documents.to_json(whole))
    shapes = [
        {name: tensor.shape for name, tensor in PoseNet(architecture).state_dict().items()}
        for architecture in (whole, read_architecture(tmp_path), read_architecture(tmp_path / "architecture.json"))
    ]
    assert shapes[0] == shapes[1] == shapes[2]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_weights_are_kept_to_the_last_bit(weights: list[float]) -> None:
    same, finer, skip, conv = weights
    genotype = Genotype({SITE: CellChoice({"same": same, "finer": finer}, ({"skip": skip, "conv": conv}, {}))})
    text = documents.to_json(genotype)
    assert documents.from_json(Genotype, text, code="bad-architecture", where="text") == genotype


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(searches())
def test_with_genotypes_of_itself_is_itself(search: Search) -> None:
    for architecture in (search.whole, *search.found):
        fabrics = {name: genotype for name, (_, genotype) in architecture.fabrics().items()}
        assert architecture.with_genotypes(fabrics) == architecture
        assert all(prune(space, g) == g for name, (space, g) in architecture.fabrics().items() if name != "backbone")


def test_the_derived_properties() -> None:
    whole = tiny_supernet("3")
    assert whole.output_stride == 4
    assert whole.heatmap_hw == (16, 16)
    assert whole.channels("head") == {4: 4, 8: 8, 16: 16, 32: 32}
    assert list(whole.fabrics()) == ["head", "upper_limb", "lower_limb", "backbone"]


def test_the_supernet_keeps_no_backbone_cell_that_no_part_reads() -> None:
    """A head of one layer at stride 4 reads the features 4 and 8 only."""
    space = SearchSpace.head(1, keep=1)
    backbone = SearchSpace.backbone(1, num_layers=6, keep=3)
    whole = supernet(COCO17, COCO17.partition("1"), fabric_backbone(backbone), space, (64, 64))
    assert whole.backbone.genotype == prune(backbone, everything(backbone), [4, 8])
    assert "layer2_stride16" not in whole.fabrics()["backbone"][1].cells


def cell(data: Data) -> Data:
    found: Data = data["genotypes"]["all"]["cells"][SITE]
    return found


def put(*path: str | int) -> Callable[[Any], Callable[[Data], None]]:
    """`put("a", "b")(value)` sets data["a"]["b"] = value."""

    def with_value(value: Any) -> Callable[[Data], None]:
        def change(data: Data) -> None:
            place: Any = data
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value

        return change

    return with_value


def rename(old: str, new: str) -> Callable[[Data], None]:
    return lambda data: data.update({new: data.pop(old)})


MUTATIONS: dict[str, tuple[Callable[[Data], None], str]] = {
    "unknown site": (
        put("genotypes", "all", "cells", "layer9_stride8")({"inputs": {}, "edges": [{}]}),
        r"genotypes\.all\.cells names the unknown site 'layer9_stride8'; did you mean 'layer\d_stride8'",
    ),
    "unknown slot": (
        lambda data: cell(data)["inputs"].update(same_=1.0),
        r"genotypes\.all\.cells\.layer4_stride8\.inputs names the unknown choice 'same_'; did you mean 'same'",
    ),
    "unknown operation": (
        lambda data: cell(data)["edges"][0].update(sep_3x3=1.0),
        r"layer4_stride8\.edges\.0 names the unknown choice 'sep_3x3'; did you mean 'sep_conv_3x3'",
    ),
    "zero kept": (
        lambda data: cell(data)["edges"][0].update(zero=1.0),
        r"layer4_stride8\.edges\.0 names the unknown choice 'zero'",
    ),
    "NaN weight": (
        lambda data: cell(data)["inputs"].update(same=math.nan),
        r"genotypes\.all\.cells\.layer4_stride8\.inputs\.same: Input should be a finite number",
    ),
    "infinite weight": (
        lambda data: cell(data)["edges"][0].update(skip_connect=math.inf),
        r"layer4_stride8\.edges\.0\.skip_connect: Input should be a finite number",
    ),
    "weight as text": (
        lambda data: cell(data)["inputs"].update(same="1.0"),
        r"genotypes\.all\.cells\.layer4_stride8\.inputs\.same: .*number",
    ),
    "too many edges": (
        lambda data: cell(data)["edges"].append({}),
        r"genotypes\.all\.cells\.layer4_stride8\.edges has 2 entries; allowed: 1",
    ),
    "no edges": (
        lambda data: cell(data).update(edges=[]),
        r"genotypes\.all\.cells\.layer4_stride8\.edges has 0 entries",
    ),
    "missing part": (lambda data: data["genotypes"].clear(), r"genotypes has the parts \[\]; allowed: \['all'\]"),
    "widths of another part": (
        lambda data: data["widths"].update(arm=[1, 1, 1, 1]),
        r"widths has the parts \['all', 'arm'\]",
    ),
    "widths too short": (put("widths", "all")([4, 8, 16]), r"widths\.all is \(4, 8, 16\); allowed: 4 numbers"),
    "widths of zero": (put("widths", "all")([4, 0, 16, 32]), r"widths\.all is \(4, 0, 16, 32\)"),
    "keypoint left out": (
        lambda data: data["partition"]["all"].remove("nose"),
        r"partition leaves out nose",
    ),
    "unknown keypoint": (
        lambda data: data["partition"]["all"].append("left_writs"),
        r"partition\.all names the unknown keypoint 'left_writs'; did you mean 'left_wrist'",
    ),
    "misspelt key": (rename("vector_dim", "vectr_dim"), r"vectr_dim: unknown key; did you mean 'vector_dim'"),
    "misspelt key of the space": (
        lambda data: data["space"].update(num_node=1),
        r"space\.num_node: unknown key; did you mean 'num_nodes'",
    ),
    "misspelt key of a cell": (
        lambda data: cell(data).update(input={}),
        r"genotypes\.all\.cells\.layer4_stride8\.input: unknown key; did you mean 'inputs'",
    ),
    "misspelt key of the backbone's cell": (
        lambda data: data["backbone"]["genotype"]["cells"]["layer0_stride4"].update(edge=[]),
        r"backbone\.genotype\.cells\.layer0_stride4\.edge: unknown key; did you mean 'edges'",
    ),
    "linear with a vector": (put("activation")("linear"), r"vector_dim is 8 with activation 'linear'; allowed: 1"),
    "vector of nothing": (put("vector_dim")(0), r"vector_dim is 0"),
    "unknown activation": (put("activation")("relu"), r"activation: .*squash"),
    "input no multiple of 32": (put("input_hw")([64, 72]), r"input_hw is \(64, 72\); allowed: multiples of 32"),
    "input of zero": (put("input_hw")([0, 64]), r"input_hw is \(0, 64\)"),
    "input of three": (put("input_hw")([64, 64, 3]), r"input_hw"),
    "format 2": (put("format")(2), r"format: Input should be 1 \(given 2\)"),
    "lattice that cannot be": (put("space", "first_layer")(6), r"space: layers 6 to 6 of 6"),
    "a head that ends too early": (put("space", "num_layers")(8), r"space ends in 3 cells"),
    "not pruned": (
        lambda data: data["genotypes"]["all"]["cells"]["layer5_stride4"]["inputs"].pop("coarser"),
        r"genotypes\.all holds what nothing reads or feeds: layer3_stride16, layer4_stride8",
    ),
    "nothing kept": (lambda data: data["genotypes"]["all"]["cells"].clear(), r"no path leads from a feature"),
    "backbone without genotype": (
        lambda data: data["backbone"].pop("genotype"),
        r"backbone: backbone 'fabric' has a space or a genotype",
    ),
    "named backbone with a space": (put("backbone", "name")("resnet50"), r"backbone: backbone 'resnet50' has a space"),
    "backbone that skips its stem": (put("backbone", "space", "first_layer")(1), r"backbone\.space reads maps"),
    "backbone that ends too early": (put("backbone", "space", "last_layer")(2), r"backbone ends in the strides"),
    "backbone without an output that is read": (
        lambda data: data["backbone"]["genotype"]["cells"].pop("layer2_stride32"),
        r"backbone ends in the strides \[4, 8, 16\]",
    ),
    "backbone not pruned": (
        lambda data: data["backbone"]["genotype"]["cells"]["layer2_stride32"]["inputs"].clear(),
        r"backbone\.genotype holds what nothing reads or feeds",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_contradiction_is_named_by_its_field(name: str) -> None:
    change, named = MUTATIONS[name]
    data = copy.deepcopy(documents.to_data(tiny_supernet()))
    assert read(data) == tiny_supernet()
    change(data)
    with pytest.raises(UserError, match=named) as caught:
        read(data)
    assert caught.value.code == "bad-architecture"


@pytest.mark.parametrize("field", ["skeleton", "partition", "backbone", "space", "genotypes", "widths", "input_hw"])
def test_a_missing_field_is_named(field: str) -> None:
    data = documents.to_data(tiny_supernet())
    del data[field]
    with pytest.raises(UserError, match=f"{field}: "):
        read(data)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    data = documents.to_data(tiny_supernet())
    data.update(format=3, vectr_dim=8, fusion="max")
    file = tmp_path / "architecture.json"
    file.write_text(json.dumps(data))
    with pytest.raises(UserError) as caught:
        read_architecture(file)
    assert all(part in str(caught.value) for part in (str(file), "format: ", "vectr_dim: ", "fusion: "))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json does not exist") as caught:
        read_architecture(tmp_path / "none.json")
    assert caught.value.code == "missing-file"
    with pytest.raises(UserError, match=r"architecture\.json does not exist"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "skeleton: coco17", '{"format": 1', "\ufeff{}"])
def test_what_is_no_architecture_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=str(file)) as caught:
        read_architecture(file)
    assert caught.value.code == "bad-architecture"


def test_binary_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        read_architecture(file)


@pytest.mark.parametrize("name", FABRIC_SPACES)
def test_the_papers_fabrics_end_in_all_scales(name: str) -> None:
    outputs = FABRIC_SPACES[name].outputs()
    assert [site.stride for site in outputs] == [4, 8, 16, 32]
    assert len(FABRIC_SPACES[name].sites()) == (9 if name == "fabric1" else 17)


@pytest.mark.parametrize("half", ["space", "genotype"])
def test_half_a_fabric_is_refused(half: str) -> None:
    space = SearchSpace.backbone(1, num_layers=6, keep=3)
    parts = {"space": space, "genotype": everything(space)}
    for name in ("fabric", "resnet50"):
        with pytest.raises(UserError, match="space and genotype exactly where"):
            Backbone(name, **{half: parts[half]})
