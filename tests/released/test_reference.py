"""Same weights, same outputs: the networks of the authors' code, read into `PoseNet`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from their_net import Net, Tensors, heatmaps

from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.released.case import import_case, read_case
from posefabric.skeletons import COCO17

CASES = ("coco_p3_h1", "coco_p5_heatmap", "mpii_p1_percell", "mpii_p8_h2")


@pytest.mark.real_data
@pytest.mark.parametrize("name", CASES)
def test_reference_outputs_are_met(real_data: Path, name: str) -> None:
    folder = real_data / "reference" / name
    case = read_case(folder / "case.json")
    imported = import_case(case, load_file(folder / "weights.safetensors"))
    net = PoseNet(imported.architecture).eval()
    net.load_state_dict(imported.state)
    known = load_file(folder / "activations.safetensors")
    with torch.inference_mode():
        features = list(net.features(known["input"]).values())
        heatmaps = net(known["input"])
    for level, feature in enumerate(features):
        theirs = known[f"feature_{level}"]
        torch.testing.assert_close(feature, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    skeleton = imported.architecture.skeleton
    order = [skeleton.index(keypoint) for keypoint in case.keypoints]
    torch.testing.assert_close(heatmaps[:, order], known["output"], rtol=0, atol=1e-5)


@pytest.mark.real_data
@pytest.mark.parametrize("name", CASES)
def test_the_oracle_of_these_tests_meets_them_too(real_data: Path, name: str) -> None:
    folder = real_data / "reference" / name
    case = read_case(folder / "case.json")
    known = load_file(folder / "activations.safetensors")
    net = Net(
        num_keypoints=case.num_keypoints,
        parts=dict(case.parts),
        backbone="fabric",
        base=case.head.base_factor,
        depth=case.head.num_layers,
        cut=case.head.drop_first or 0,
        operations=case.head.operations,
        nodes=case.head.num_nodes,
        vector_dim=case.vector_dim,
        shared=case.head.share_operations,
        backbone_depth=case.backbone.num_layers,
        backbone_keep=case.backbone.keep_first or 0,
        backbone_base=case.backbone.base_factor,
        backbone_operations=case.backbone.operations,
    )
    found = heatmaps(net, Tensors(load_file(folder / "weights.safetensors")), known["input"])
    torch.testing.assert_close(found, known["output"], rtol=0, atol=1e-5)


@pytest.mark.real_data
def test_every_tensor_is_used_or_dead(real_data: Path) -> None:
    folder = real_data / "reference" / "coco_p3_h1"
    tensors = load_file(folder / "weights.safetensors")
    imported = import_case(read_case(folder / "case.json"), tensors)
    assert imported.architecture.skeleton == COCO17
    assert set(imported.ledger.used) | set(imported.ledger.dead) == set(tensors)
    assert all(".stem." in name or "running" in name or "num_batches" in name for name in imported.ledger.dead)


@pytest.mark.real_data
def test_missing_and_misshapen_tensors_are_named(real_data: Path) -> None:
    folder = real_data / "reference" / "coco_p3_h1"
    case, tensors = read_case(folder / "case.json"), load_file(folder / "weights.safetensors")
    name = "head_part.final_layer.1.weight"
    with pytest.raises(UserError, match=name):
        import_case(case, {k: v for k, v in tensors.items() if k != name})
    with pytest.raises(UserError, match=name):
        import_case(case, {**tensors, name: torch.zeros(1)})
