"""From a file of the authors' to a run that predicts, is derived from, and says where it comes from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from their_net import Net, Tensors, heatmaps, made
from torch import Tensor

from posefabric import commands
from posefabric.checkpoints import load_tensors, save_tensors
from posefabric.errors import UserError
from posefabric.predictor import load
from posefabric.runs import Run

PARTS = {
    "upper_limb_part": (5, 6, 7, 8, 9, 10),
    "head_part": (0, 1, 2, 3, 4),
    "lower_limb_part": (11, 12, 13, 14, 15, 16),
}
SMALL = Net(17, PARTS, "fabric", 2, backbone_depth=8, backbone_keep=5, backbone_base=1)

CASE = {
    "dataset": "coco",
    "num_parts": 3,
    "num_keypoints": 17,
    "parts": PARTS,
    "backbone": {
        "num_layers": 8,
        "keep_first": 5,
        "operations": SMALL.backbone_operations,
        "num_nodes": 1,
        "base_factor": 1,
        "channels": [4, 8, 16, 32],
    },
    "head": {
        "num_layers": 6,
        "drop_first": 3,
        "operations": SMALL.operations,
        "num_nodes": 1,
        "base_factor": 2,
        "channels": [8, 16, 32, 64],
    },
    "vector": True,
    "vector_dim": 8,
    "fusion": "sum",
    "input_shape": [1, 3, 64, 64],
    "mode": "eval",
}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint as the authors' training leaves it, imported."""
    folder = tmp_path_factory.mktemp("released")
    tensors = made(SMALL)
    checkpoint = {"best_result": 0.5, "epoch": 7, "model": tensors, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(checkpoint, folder / "previous_ckpt.tar", _use_new_zipfile_serialization=False)
    (folder / "case.json").write_text(json.dumps(CASE))
    run = folder / "run"
    commands.import_weights(folder / "previous_ckpt.tar", case=folder / "case.json", commit="dd84036", output=run)
    return run, tensors


def test_a_run_sees_what_the_authors_net_saw(small_run: tuple[Path, dict[str, Tensor]]) -> None:
    """BGR from 0 to 1, by the mean and deviation of RGB in this order; a picture whose channels differ tells."""
    run, tensors = small_run
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8) // np.array([1, 2, 4], np.uint8)
    predictor = load(run)
    shown: list[tuple[Tensor, Tensor]] = []
    predictor.net.register_forward_hook(lambda _, given, maps: shown.append((given[0].clone(), maps.clone())))
    predictor.predict(picture, [(0, 0, 63, 63)])
    ((images, maps),) = shown
    mean, std = (torch.tensor(getattr(predictor.config.data, key))[:, None, None] for key in ("mean", "std"))
    rgb = images * std + mean
    assert float(rgb.min()) > -1e-3
    assert float(rgb[:, 2].max()) < 0.3
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    theirs = heatmaps(SMALL, Tensors(tensors), (rgb.flip(1) - mean) / std)
    torch.testing.assert_close(maps, theirs, rtol=0, atol=1e-4)
    assert float(theirs.std()) > 1e-3


def test_a_run_says_where_it_comes_from(small_run: tuple[Path, dict[str, Tensor]]) -> None:
    run, tensors = small_run
    origin = Run(run).record["data"]["origin"]
    digest = hashlib.sha256((run.parent / "previous_ckpt.tar").read_bytes()).hexdigest()
    assert origin["file"] == "previous_ckpt.tar"
    assert (origin["sha256"], origin["commit"]) == (digest, "dd84036")
    assert origin["channel_order"] == "bgr"
    assert (origin["mean"], origin["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    data = Run(run).config.data
    assert (data.mean, data.std) == ((0.406, 0.456, 0.485), (0.225, 0.224, 0.229))
    licence = (run / "weights-licence.txt").read_text()
    assert all(
        part in licence for part in ("MIT", "Copyright (c) 2019 senius", "yangsenius/PoseNFS", digest, "dd84036")
    )
    listed = json.loads((run / "tensors.json").read_text())["tensors"]
    assert listed["used"].keys() | listed["dead"].keys() == tensors.keys()
    kept = load_tensors(run / "weights.safetensors")
    assert {name for names in listed["used"].values() for name in names} - {"alphas", "betas"} == kept.keys()


def test_an_imported_run_is_used_as_any_other(small_run: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    run, _ = small_run
    few = ["data.synthetic_val=2", "data.synthetic_hw=[64,48]"]
    assert commands.evaluate(run, "synthetic", set=few, output=tmp_path / "evaluation").figures["persons"] == 2
    mixture = Run(run).architecture()
    commands.derive(run, method="argmax")
    assert Run(run).architecture("supernet.json") == mixture
    assert load(run).net.architecture == Run(run).architecture() != mixture
    assert commands.doctor(run).exit_code == 0


def test_a_recipe_is_imported_from_safetensors_too(tmp_path: Path) -> None:
    from test_recipes import ours_1

    file, run = tmp_path / "ours1.safetensors", tmp_path / "run"
    save_tensors(file, ours_1())
    result = commands.import_weights(file, recipe="coco_ours1", output=run)
    assert (result.figures["used"], result.figures["missing"]) == (819, 0)
    assert Run(run).config.backbone.name == "mobilenetv2_100"
    assert not Run(run).config.backbone.pretrained
    assert Run(run).config.model.fabric.operations == ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")
    assert load(run).net.architecture.input_hw == (384, 288)
    again = commands.import_weights(file, recipe="coco_ours1", output=run)
    assert again.figures == result.figures


def test_a_recipe_or_a_case(tmp_path: Path) -> None:
    for options in ({}, {"recipe": "coco_ours1", "case": tmp_path / "case.json"}):
        with pytest.raises(UserError, match="--recipe or --case"):
            commands.import_weights(tmp_path / "net.pth", **options)
    with pytest.raises(UserError, match="known: mpii_mobilenetv2_p1"):
        commands.import_weights(tmp_path / "net.pth", recipe="base")
    (tmp_path / "case.json").write_text(json.dumps({**CASE, "parts": {"all_part": [0, 99]}}))
    save_tensors(tmp_path / "net.pth", {"a": torch.zeros(1)})
    with pytest.raises(UserError, match=r"parts of the keypoints \[99\]"):
        commands.import_weights(tmp_path / "net.pth", case=tmp_path / "case.json")
