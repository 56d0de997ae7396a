"""Stages 6 and 7 of the walk: part maps to vectors, vectors to scores, parts to keypoints (PNFS section III-D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posefabric.architecture import Activation
from posefabric.skeletons import Partition, Skeleton

INITIAL_STD = 0.02
"""Our choice: lengths start near 0.3. The default starts them near 2, where every pixel scores 0.8."""

INITIAL_LOGIT = -2.4
"""Ours: the score of such a length, 0.083, as a logit. From 0 a sigmoid would start at a half everywhere."""


class VectorHead(nn.Module):
    """ReLU and a 1x1 convolution to one D-vector per pixel and keypoint of the part; its length becomes the score.

    `"squash"`: |v|^2 / (1 + |v|^2), in [0, 1) (appendix A). Two controls have D = 1: `"linear"` is the number itself, a
    plain heatmap; `"sigmoid"` its logistic function, in (0, 1), which starts where the squash does.
    Vectors and scores are float32 at least, under any autocast.
    """

    def __init__(self, channels: int, num_keypoints: int, vector_dim: int, activation: Activation) -> None:
        super().__init__()
        self.vector_dim, self.activation = vector_dim, activation
        self.to_vectors = nn.Conv2d(channels, num_keypoints * vector_dim, 1)
        nn.init.normal_(self.to_vectors.weight, std=INITIAL_STD)
        nn.init.constant_(self.to_vectors.get_parameter("bias"), INITIAL_LOGIT if activation == "sigmoid" else 0.0)

    def vectors(self, part_map: Float[Tensor, "B C h w"]) -> Float[Tensor, "B J D h w"]:
        maps: Tensor = self.to_vectors(torch.relu(part_map))
        precise = maps.to(torch.promote_types(maps.dtype, torch.float32))
        vectors: Tensor = precise.unflatten(1, (-1, self.vector_dim))  # type: ignore[no-untyped-call]
        return vectors

    def forward(self, part_map: Float[Tensor, "B C h w"]) -> Float[Tensor, "B J h w"]:
        vectors = self.vectors(part_map)
        if self.activation == "linear":
            return vectors.squeeze(2)
        if self.activation == "sigmoid":
            return torch.sigmoid(vectors.squeeze(2))
        squared_length = vectors.square().sum(dim=2)
        return squared_length / (1 + squared_length)


class Fusion(nn.Module):
    """Score maps of all parts to one heatmap per keypoint; keypoints of several parts are summed or averaged."""

    def __init__(self, skeleton: Skeleton, partition: Partition, fusion: Literal["sum", "mean"]) -> None:
        super().__init__()
        owners = [skeleton.index(name) for names in partition.values() for name in names]
        self.parts = tuple(partition)
        self.num_keypoints = skeleton.num_keypoints
        counts = torch.tensor(owners, device="cpu").bincount(minlength=self.num_keypoints)
        self.shared = int(counts.max()) > 1
        order = owners if self.shared else [owners.index(k) for k in range(self.num_keypoints)]
        share = 1.0 / counts if fusion == "mean" else torch.ones(self.num_keypoints, device="cpu")
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("share", share[:, None, None].to(self.order.device), persistent=False)
        self.order: Tensor
        self.share: Tensor

    def forward(self, scores: Mapping[str, Float[Tensor, "B _ h w"]]) -> Float[Tensor, "B K h w"]:
        maps = torch.cat([scores[part] for part in self.parts], dim=1)
        if not self.shared:
            return maps[:, self.order]
        total = maps.new_zeros(maps.shape[0], self.num_keypoints, *maps.shape[2:])
        return total.index_add(1, self.order, maps) * self.share
