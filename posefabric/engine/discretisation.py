"""From the mixture that a search found to a net that is measured: derived, inherited, its norms recalibrated.

A derived net's maps differ from the mixture's, so the running statistics it inherits do not fit: a few batches of
training persons give it its own. What is lost on the way, the discretisation gap, is told and recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from posefabric.architecture import Architecture
from posefabric.checkpoints import save_tensors
from posefabric.config import Config
from posefabric.data.loader import Batch
from posefabric.data.records import People
from posefabric.engine.conclusion import measure
from posefabric.engine.evaluate import evaluate
from posefabric.models.net import PoseNet
from posefabric.predictor import inherit
from posefabric.runs import Run
from posefabric.strategies.derive import derive, file_name

logger = logging.getLogger(__name__)

SUPERNET_FILE = "supernet.json"
"""The mixture that was found, beside the derived `architecture.json`; the weights fit both."""

HEADLINES = ("PCK@0.2", "PCK@0.2/box", "PCKh@0.5", "AP")
"""The figures in which the gap may be told; the first that there is."""


def discretise(
    run: Run, config: Config, found: Architecture, supernet: PoseNet, people: People, batches: Iterable[Batch]
) -> dict[str, Any]:
    """Derive, measure and keep the net of a search in its run folder.

    The figures are the recalibrated net's; those of the mixture and of the net as inherited stand beside them under
    `mixture/` and `inherited/`. `batches` are what the norms are recalibrated on; without any they stay as inherited.
    """
    device = str(next(supernet.parameters()).device)
    settings = config.search
    derived, name = derive(found, settings.derive, settings), file_name(settings.derive, settings)
    run.save_architecture(found, SUPERNET_FILE)
    run.save_architecture(derived)
    run.save_architecture(derived, f"architectures/{name}.json")
    save_tensors(run.path / "weights.safetensors", supernet.state_dict())
    run.note(derived=name)
    net = derived_net(derived, supernet).to(device)
    mixed = derived_net(found, supernet).to(device)
    stages = {"mixture": evaluate(mixed, people, config, device), "inherited": evaluate(net, people, config, device)}
    if statistics := recalibrate(net, batches):
        save_tensors(run.norms_file, statistics)
    measured = measure(run, net, people, config)
    tell_gap({**stages, "recalibrated": measured})
    figures = measured | {f"{stage}/{key}": value for stage, values in stages.items() for key, value in values.items()}
    run.save_figures(figures)
    return figures


def derived_net(architecture: Architecture, supernet: PoseNet) -> PoseNet:
    """A net with its supernet's weights."""
    net = PoseNet(architecture)
    inherit(net, supernet.state_dict())
    return net


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


def tell_gap(stages: dict[str, dict[str, Any]]) -> None:
    """One line with a figure of every stage."""
    key = next((key for key in HEADLINES if all(key in values for values in stages.values())), None)
    if key is not None:
        told = ", ".join(f"{stage} {values[key]:.3g}" for stage, values in stages.items())
        logger.info("discretisation gap, %s: %s", key, told)
