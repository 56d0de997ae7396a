"""Weights of the authors' released code (yangsenius/PoseNFS, MIT licence), read into our names.

Theirs: `backbone.*` and per part attribute `cell_{layer}_{scale}` with `propress_list.{slot}`,
`cell_arch.{edge}.ops.{op}` and `channel_keep`; `reduce.{part}.{level}`, `final_layer.1`, `alphas`, `betas`. Tensors
that no forward pass reads (each part's stem, transitions and laterals nobody uses) are reported as dead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from posefabric import documents
from posefabric.architecture import Architecture, supernet
from posefabric.backbone import BACKBONE, FABRIC, Backbone
from posefabric.documents import STRICT
from posefabric.errors import UserError
from posefabric.genotype import Genotype, everything
from posefabric.models.mixing import SoftmaxMixing, as_genotype
from posefabric.models.net import PoseNet
from posefabric.skeletons import COCO17, MPII16
from posefabric.space import SHARED, SearchSpace

THEIR_OPERATIONS = {
    "Zero": "zero",
    "skip_connect": "skip_connect",
    "Sep_Conv_3x3": "sep_conv_3x3",
    "Atr_Conv_3x3": "dil_conv_3x3",
    "avg_pool_3x3": "avg_pool_3x3",
    "max_pool_3x3": "max_pool_3x3",
}

THEIR_MPII_KEYPOINTS = tuple(MPII16.keypoints[i] for i in (9, 8, 7, 13, 12, 14, 11, 15, 10, 3, 2, 4, 1, 5, 0, 6))
"""MPII's keypoints in the order the authors re-sorted them to."""


@dataclass(frozen=True)
class FabricCase:
    """One fabric of `case.json`: a head says `drop_first`, a backbone `keep_first`."""

    num_layers: int
    operations: tuple[str, ...]
    num_nodes: int
    base_factor: int
    channels: tuple[int, ...]
    keep_first: int | None = None
    drop_first: int | None = None
    share_operations: bool = True

    __pydantic_config__ = STRICT

    def space(self) -> SearchSpace:
        return SearchSpace(
            num_layers=self.num_layers,
            first_layer=self.drop_first or 0,
            last_layer=self.keep_first or self.num_layers,
            base_channels=self.base_factor,
            num_nodes=self.num_nodes,
            operations=tuple(THEIR_OPERATIONS[name] for name in self.operations),
            share_operations=self.share_operations,
        )


@dataclass(frozen=True)
class Case:
    """The configuration beside a checkpoint: `parts` gives keypoint indices in the authors' own order."""

    dataset: Literal["coco", "mpii"]
    num_parts: int
    num_keypoints: int
    parts: Mapping[str, tuple[int, ...]]
    backbone: FabricCase
    head: FabricCase
    vector: bool
    vector_dim: int
    fusion: Literal["sum", "mean"]
    input_shape: tuple[int, int, int, int]
    mode: str

    __pydantic_config__ = STRICT

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Keypoint names in the authors' order."""
        return COCO17.keypoints if self.dataset == "coco" else THEIR_MPII_KEYPOINTS


@dataclass(frozen=True)
class Imported:
    """An architecture, the state of its `PoseNet`, and what became of every tensor of the checkpoint."""

    architecture: Architecture
    state: Mapping[str, Tensor]
    used: tuple[str, ...]
    dead: tuple[str, ...]


def read_case(path: Path) -> Case:
    return documents.read_json(Case, path, code="bad-weights")


def import_case(case: Case, tensors: Mapping[str, Tensor]) -> Imported:
    """Read a checkpoint of a CNF-backbone net. Raises `UserError("bad-weights")` for missing or misshapen tensors."""
    backbone_space, space = case.backbone.space(), case.head.space()
    parts = {theirs.removesuffix("_part"): theirs for theirs in case.parts}
    backbone_mixture = _mixture(backbone_space, tensors, BACKBONE)
    whole = supernet(
        skeleton=COCO17 if case.dataset == "coco" else MPII16,
        partition={ours: tuple(case.keypoints[i] for i in case.parts[theirs]) for ours, theirs in parts.items()},
        backbone=Backbone(FABRIC, backbone_space, backbone_mixture),
        space=space,
        input_hw=(case.input_shape[2], case.input_shape[3]),
        vector_dim=case.vector_dim,
        activation="squash" if case.vector else "linear",
        fusion=case.fusion,
    )
    architecture = whole.with_genotypes(
        {BACKBONE: backbone_mixture} | {ours: _mixture(space, tensors, theirs) for ours, theirs in parts.items()}
    )
    net = PoseNet(architecture)
    renamed = _rename(tensors, dict(_module_names(net, parts)))
    state = {name: _fitting(renamed, name, wanted) for name, wanted in net.state_dict().items()}
    logits = {f"{fabric}.{kind}" for fabric in ("backbone", *parts.values()) for kind in ("alphas", "betas")}
    used = logits | {renamed[name][0] for name in state}
    return Imported(architecture, state, tuple(sorted(used)), tuple(sorted(set(tensors) - used)))


def _mixture(space: SearchSpace, tensors: Mapping[str, Tensor], fabric: str) -> Genotype:
    """Their logits as the multipliers that their code applies."""
    mixing = SoftmaxMixing(space, everything(space))
    alphas, betas = _tensor(tensors, f"{fabric}.alphas"), _tensor(tensors, f"{fabric}.betas")
    with torch.no_grad():
        for index, site in enumerate(space.sites()):
            mixing.beta[site.name].copy_(betas[index])
            if not space.share_operations:
                mixing.alpha[site.name].copy_(alphas[index])
        if space.share_operations:
            mixing.alpha[SHARED].copy_(alphas)
        return as_genotype(mixing())


def _module_names(net: PoseNet, parts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Their name and ours of every module that holds tensors."""
    space, backbone = net.architecture.space, net.architecture.backbone.space
    assert backbone is not None
    yield "backbone.stem", "backbone.stem"
    yield from _cell_names(backbone, "backbone", "backbone.fabric")
    for index, (part, theirs) in enumerate(parts.items()):
        for level, stride in enumerate(space.strides):
            yield f"reduce.{index}.{level}", f"parts.{part}.laterals.{stride}"
        yield from _cell_names(space, theirs, f"parts.{part}.fabric")
        yield f"{theirs}.final_layer.1", f"parts.{part}.head.to_vectors"


def _cell_names(space: SearchSpace, theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for site in space.sites():
        cell = f"{theirs}.cell_{site.layer}_{space.strides.index(site.stride)}"
        home = f"{ours}.cells.{site.name}"
        for index, source in enumerate(site.sources):
            layers = ("conv_1x1", "bn") if source.stride > site.stride else ("operation.0", "operation.1")
            for number, layer in enumerate(layers):
                yield f"{cell}.propress_list.{index}.{layer}", f"{home}.transitions.{source.slot}.{number}"
        for index, (start, end) in enumerate(space.edges):
            for number, operation in enumerate(space.operations):
                wrapper = ".operation" if operation.endswith("conv_3x3") else ""
                edge = f"{home}.edges.{start}_{end}.{operation}"
                yield f"{cell}.cell_arch.{index}.ops.{number}{wrapper}", edge
        yield f"{cell}.channel_keep", f"{home}.projection"


def _rename(tensors: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, tuple[str, Tensor]]:
    """Our name -> their name and the tensor; a projection's weight is split into one block per node."""
    renamed = {}
    for name, tensor in tensors.items():
        module = name
        while module and module not in modules:
            module = module.rpartition(".")[0]
        if not module:
            continue
        ours = modules[module] + name.removeprefix(module)
        if ours.endswith("projection.weight"):
            nodes = tensor.shape[1] // tensor.shape[0]
            for node, block in enumerate(tensor.chunk(nodes, dim=1), start=1):
                renamed[f"{ours}s.{node}"] = name, block
        else:
            renamed[ours] = name, tensor
    return renamed


def _fitting(renamed: Mapping[str, tuple[str, Tensor]], name: str, wanted: Tensor) -> Tensor:
    if name not in renamed:
        raise UserError("bad-weights", f"the checkpoint has no tensor for {name}")
    theirs, tensor = renamed[name]
    if tensor.shape != wanted.shape:
        found = f"{theirs} has the shape {tuple(tensor.shape)}"
        raise UserError("bad-weights", found, f"{tuple(wanted.shape)}, that of {name}")
    return tensor.contiguous()


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise UserError("bad-weights", f"the checkpoint lacks {name}")
    return tensors[name]
