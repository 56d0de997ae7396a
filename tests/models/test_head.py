"""Vectors to scores, parts to keypoints: by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies_architecture import PARTITIONS

from posefabric.models.head import Fusion, VectorHead
from posefabric.skeletons import COCO17, SKELETONS, Skeleton


def head_that_passes(vector_dim: int, keypoints: int = 1, activation: str = "squash") -> VectorHead:
    """A head whose vectors are its input channels."""
    channels = vector_dim * keypoints
    head = VectorHead(channels, keypoints, vector_dim, activation)  # type: ignore[arg-type]
    torch.nn.init.zeros_(head.to_vectors.bias)
    with torch.no_grad():
        head.to_vectors.weight.copy_(torch.eye(channels)[:, :, None, None])
    return head


def test_squash_by_hand() -> None:
    """|(3, 4)|^2 = 25: 25/26; |(0, 1)|^2 = 1: a half; negative entries fall to the ReLU."""
    vectors = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0], [-3.0, -4.0]])
    scores = head_that_passes(2)(vectors.T[None, :, :, None])
    torch.testing.assert_close(scores.flatten(), torch.tensor([25 / 26, 0.5, 0.0, 0.0]))


def test_entries_of_one_keypoint_are_neighbouring_channels() -> None:
    head = head_that_passes(2, keypoints=2)
    vectors = head.vectors(torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None, None])
    assert vectors.shape == (1, 2, 2, 1, 1)
    assert vectors.flatten(1).tolist() == [[1.0, 2.0, 3.0, 4.0]]
    torch.testing.assert_close(head(torch.ones(1, 4, 1, 1)).flatten(), torch.tensor([2 / 3, 2 / 3]))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 8]), st.floats(0, 1e3))
def test_scores_lie_in_the_unit_interval(seed: int, vector_dim: int, size: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    head = VectorHead(3, 2, vector_dim, "squash")
    scores = head(size * torch.randn(2, 3, 4, 4, generator=draw))
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert size > 30 or scores.max() < 1


def test_linear_is_the_number_itself() -> None:
    head = head_that_passes(1, keypoints=3, activation="linear")
    with torch.no_grad():
        head.to_vectors.bias.copy_(torch.tensor([-2.0, 0.0, 5.0]))
    maps = torch.tensor([1.0, 7.0, 0.5])[None, :, None, None]
    assert head(maps).flatten().tolist() == [-1.0, 7.0, 5.5]


def test_sigmoid_of_the_number_starts_where_the_squash_does() -> None:
    head = head_that_passes(1, keypoints=3, activation="sigmoid")
    maps = torch.tensor([0.0, 1.0, 3.0])[None, :, None, None]
    torch.testing.assert_close(head(maps).flatten(), torch.tensor([0.5, 0.7310586, 0.9525741]))
    fresh = VectorHead(4, 2, 1, "sigmoid")(torch.zeros(1, 4, 2, 2))
    torch.testing.assert_close(fresh, torch.full_like(fresh, 0.3**2 / (1 + 0.3**2)), atol=2e-3, rtol=0)


def test_scores_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert VectorHead(3, 2, 4, "squash")(torch.rand(1, 3, 2, 2)).dtype == torch.float32


def scores_of(skeleton: Skeleton, name: str) -> dict[str, torch.Tensor]:
    """Part maps whose value is 100 x the part's number + the keypoint's index."""
    return {
        part: torch.tensor([[100.0 * number + skeleton.index(keypoint) for keypoint in keypoints]])[..., None, None]
        for number, (part, keypoints) in enumerate(skeleton.partition(name).items())
    }


def test_sum_and_mean_of_shared_keypoints_by_hand() -> None:
    """P = 8: the left elbow (7) is in parts 1 and 2, the left knee (13) in 5 and 6, the nose (0) in 0 alone."""
    scores = scores_of(COCO17, "8")
    total = Fusion(COCO17, COCO17.partition("8"), "sum")(scores).flatten()
    mean = Fusion(COCO17, COCO17.partition("8"), "mean")(scores).flatten()
    assert (total[7], total[13], total[0]) == (107 + 207, 513 + 613, 0)
    assert (mean[7], mean[13], mean[0]) == (157, 563, 0)
    assert (total[5], total[9], total[16]) == (5 + 105, 209, 716)
    shared = [k for k in range(17) if total[k] != mean[k]]
    assert [COCO17.keypoints[k] for k in shared] == [
        f"{side}_{joint}" for joint in ("shoulder", "elbow", "knee") for side in ("left", "right")
    ]
    torch.testing.assert_close(total[shared], 2 * mean[shared])


@pytest.mark.parametrize("fusion", ["sum", "mean"])
@pytest.mark.parametrize(("skeleton", "name"), PARTITIONS)
def test_fusion_equals_a_plain_loop(skeleton: Skeleton, name: str, fusion: str) -> None:
    partition = skeleton.partition(name)
    draw = torch.Generator().manual_seed(0)
    scores = {part: torch.rand(2, len(names), 3, 4, generator=draw) for part, names in partition.items()}
    found = Fusion(skeleton, partition, fusion)(scores)  # type: ignore[arg-type]
    for k, keypoint in enumerate(skeleton.keypoints):
        maps = [scores[part][:, names.index(keypoint)] for part, names in partition.items() if keypoint in names]
        expected = sum(maps) / (len(maps) if fusion == "mean" else 1)
        torch.testing.assert_close(found[:, k], expected)


@pytest.mark.parametrize(
    ("skeleton", "name"), [(skeleton, name) for skeleton in SKELETONS.values() for name in ("1", "3", "5")]
)
def test_disjoint_parts_are_a_permutation(skeleton: Skeleton, name: str) -> None:
    scores = scores_of(skeleton, name)
    fused = Fusion(skeleton, skeleton.partition(name), "sum")(scores).flatten()
    assert (fused % 100).tolist() == list(range(skeleton.num_keypoints))
    assert sorted(fused.tolist()) == sorted(torch.cat([s.flatten() for s in scores.values()]).tolist())


def test_fusion_has_no_state() -> None:
    assert Fusion(COCO17, COCO17.partition("8"), "mean").state_dict() == {}
