"""A SimpleBaseline-style head (Xiao et al., ECCV 2018) trained by the same recipe as a searched net.

    python benchmarks/simple_baseline.py DATA --recipe RECIPE --output RUN [--set a.b=v ...] [--weights RUN]

Three 4x4 transposed convolutions of stride 2 with BatchNorm and ReLU on the backbone's coarsest map, then a 1x1
convolution to one heatmap per keypoint. Prints parameters, MACs and the figures, and leaves a run folder with
`metrics.jsonl` and `evaluation.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from posefabric.architecture import Architecture
from posefabric.checkpoints import load_tensors
from posefabric.config import override
from posefabric.data.sources import describe, open_people
from posefabric.engine.train import load_backbone, train
from posefabric.models.cost import module_macs
from posefabric.models.net import PoseNet
from posefabric.recipes import recipe
from posefabric.runs import Run


class SimpleBaseline(PoseNet):
    """The backbone of an architecture under a deconvolution head of `width` channels."""

    def __init__(self, architecture: Architecture, width: int) -> None:
        super().__init__(architecture)
        self.parts, self.mixing = nn.ModuleDict(), nn.ModuleDict()
        channels = [self.backbone.channels[32], width, width, width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        to_heatmaps = nn.Conv2d(width, architecture.skeleton.num_keypoints, 1)
        nn.init.normal_(to_heatmaps.weight, std=0.001)
        self.deconvolution = nn.Sequential(*layers, to_heatmaps)

    def forward(self, images: Tensor) -> Tensor:
        heatmaps: Tensor = self.deconvolution(self.features(images)[32]).float()
        return heatmaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    config = override(recipe(arguments.recipe).config, arguments.set)
    people = open_people(arguments.data, "train", config.data), open_people(arguments.data, "val", config.data)
    torch.manual_seed(config.seed)
    supernet = config.model.supernet(people[0].skeleton, config.backbone.describe())
    net = SimpleBaseline(supernet, arguments.width)
    if arguments.weights:
        net.load_state_dict(load_tensors(arguments.weights / "weights.safetensors"))
    else:
        load_backbone(net, config)
    macs = module_macs(net.eval(), torch.zeros(1, 3, *config.model.input_hw))[""]
    cost = {"parameters": sum(p.numel() for p in net.parameters()), "macs": macs}
    print(json.dumps(cost))
    source = {"width": arguments.width, "weights": arguments.weights and str(arguments.weights)}
    run = Run.start(arguments.output, "simple-baseline", config.data_form(), describe(arguments.data) | source)
    figures = train(run, config, net, people) | cost
    run.save_figures(figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
