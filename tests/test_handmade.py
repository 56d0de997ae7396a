"""Hand-made nets as data: they survive JSON, are told from fabrics, and contradictions are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_runs import small_config, small_supernet

from posefabric import documents
from posefabric.backbone import FABRIC_SPACES, Backbone, fabric_backbone
from posefabric.draw import draw_net
from posefabric.errors import UserError
from posefabric.handmade import HEADS, HandMade, read_description
from posefabric.runs import Run
from posefabric.skeletons import COCO17

Data = dict[str, Any]
BACKBONES = (Backbone("resnet18"), fabric_backbone(FABRIC_SPACES["fabric2"]))


def made(head: str, backbone: Backbone = BACKBONES[0]) -> HandMade:
    return HandMade.published(head, COCO17, backbone, (64, 64), parts="3")


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone.name)
@pytest.mark.parametrize("head", HEADS)
def test_json_and_back_gives_an_equal_net(head: str, backbone: Backbone, tmp_path: Path) -> None:
    described = made(head, backbone)
    (tmp_path / "architecture.json").write_text(documents.to_json(described))
    for place in (tmp_path, tmp_path / "architecture.json"):
        assert read_description(place) == described


def test_fabrics_are_read_as_fabrics(tmp_path: Path) -> None:
    whole = small_supernet(small_config())
    (tmp_path / "architecture.json").write_text(documents.to_json(whole))
    assert read_description(tmp_path) == whole


@pytest.mark.parametrize("head", HEADS)
def test_only_a_head_per_part_has_the_parts(head: str) -> None:
    names = tuple(COCO17.partition("3" if head == "residual" else "1"))
    assert tuple(made(head).partition) == tuple(made(head).widths) == names


def put(key: str, value: Any) -> Callable[[Data], None]:
    return lambda data: data.update({key: value})


MUTATIONS: dict[str, tuple[Callable[[Data], None], str]] = {
    "unknown head": (put("head", "deconv"), "unknown head 'deconv'; did you mean 'deconvolution'"),
    "unknown key": (put("width", 3), r"width: unknown key; did you mean 'widths'"),
    "no widths": (lambda data: data.pop("widths"), "widths: Field required"),
    "too few widths": (put("widths", {"all": [256, 256]}), r"widths\.all is \(256, 256\); allowed: 3 numbers"),
    "a width of nothing": (put("widths", {"all": [256, 0, 256]}), r"widths\.all is \(256, 0, 256\)"),
    "widths of other parts": (put("widths", {"head": [1, 1, 1]}), r"widths has the parts \['head'\]; .*\['all'\]"),
    "odd crop": (put("input_hw", [64, 48]), r"input_hw is \(64, 48\); allowed: multiples of 32"),
    "no vectors": (put("vector_dim", 0), "vector_dim is 0"),
    "vectors as heatmaps": (put("activation", "linear"), "vector_dim is 8 with activation 'linear'"),
    "later format": (put("format", 2), "format"),
    "part of a bad name": (
        lambda data: data.update(partition={"backbone": list(COCO17.keypoints)}),
        r"partition\.backbone is no name",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_contradictions_are_named(name: str, tmp_path: Path) -> None:
    change, message = MUTATIONS[name]
    data = documents.to_data(made("deconvolution"))
    change(data)
    file = tmp_path / "net.json"
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=message) as caught:
        read_description(file)
    assert caught.value.code == "bad-architecture"
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{", "3", "[" * 5000, '"head"', "{}"])
def test_what_is_no_net_at_all_is_refused_as_an_architecture(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(UserError) as caught:
        read_description(tmp_path / "net.json")
    assert caught.value.code == "bad-architecture"


def test_the_bottom_of_an_hourglass_must_divide_the_crop() -> None:
    deep = replace(made("hourglass"), widths={"all": (16, 8, 8, 8, 8, 8)})
    with pytest.raises(UserError, match=r"input_hw is \(96, 64\); allowed: multiples of 64"):
        replace(deep, input_hw=(96, 64))
    assert replace(deep, widths={"all": (16, 8, 8, 8, 8)}, input_hw=(96, 64)).heatmap_hw == (24, 16)


def test_a_fabric_backbone_is_cut_where_the_head_reads() -> None:
    cut = made("hourglass", BACKBONES[1]).backbone
    assert cut.space == BACKBONES[1].space
    assert cut.genotype != BACKBONES[1].genotype
    with pytest.raises(UserError, match="holds what nothing reads"):
        replace(made("hourglass"), backbone=BACKBONES[1])


def test_a_search_is_not_continued_from_a_hand_made_net(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "train", {}, {})
    run.save_architecture(made("hourglass"))
    assert run.description() == made("hourglass")
    with pytest.raises(UserError, match=r"describes a hand-made net \(hourglass\)"):
        run.architecture()


@pytest.mark.parametrize("head", HEADS)
def test_the_picture_says_every_width(head: str, tmp_path: Path) -> None:
    described = made(head)
    draw_net(described, tmp_path / "net.svg")
    text = (tmp_path / "net.svg").read_text()
    for part, widths in described.widths.items():
        assert f"{part.replace('_', ' ')}: {head.replace('_', ' ')}" in text
        for index, width in enumerate(widths):
            assert f">{width}<" in text
            assert f">{HEADS[head].label(index)}<" in text
