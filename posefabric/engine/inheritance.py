"""A net with its supernet's weights, and norms that fit it: maps of a derived net differ from the mixture's."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from posefabric.architecture import Architecture
from posefabric.checkpoints import load_tensors
from posefabric.data.loader import Batch
from posefabric.models.net import PoseNet
from posefabric.predictor import heir, inherit
from posefabric.runs import Run


def derived_net(architecture: Architecture, supernet: PoseNet) -> PoseNet:
    """A net with its supernet's weights; channels that the supernet lacks are untrained."""
    net = heir(architecture, supernet.state_dict(), widen=True)
    assert isinstance(net, PoseNet)
    return net


def supernet_of(run: Run, found: Architecture) -> PoseNet:
    """A net of a search's space with the weights that its run keeps."""
    net = PoseNet(found)
    inherit(net, load_tensors(run.path / "weights.safetensors"))
    return net


def untrained(net: nn.Module, supernet: nn.Module) -> list[str]:
    """Names of the tensors of a derived net that its supernet lacks or has with fewer channels."""
    given = {name: tensor.shape for name, tensor in supernet.state_dict().items()}
    return [
        name
        for name, tensor in net.state_dict().items()
        if name not in given or any(n > m for n, m in zip(tensor.shape, given[name], strict=True))
    ]


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Replace the running statistics of all norms by the mean over the batches; gives them under their names.

    Without a batch nothing changes and nothing is given. The net is left in eval mode.
    """
    norms = {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    net.eval()
    seen = False
    for batch in batches:
        for norm in norms.values() if not seen else ():
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of all that is seen
            norm.train()
        seen = True
        net(batch.images.contiguous(memory_format=torch.channels_last))
    for name, norm in norms.items():
        norm.momentum = momenta[name]
    net.eval()
    statistics = {f"{name}.{key}": value for name, norm in norms.items() for key, value in norm.named_buffers()}
    return statistics if seen else {}
