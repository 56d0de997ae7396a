"""From the mixture that a search found to a net that is measured: derived, inherited, its norms recalibrated, tuned.

What is lost on the way, the discretisation gap, is told and recorded. `weights.safetensors` keeps the supernet's
weights, so that another net can be derived; what the derived net has of its own lies beside its architecture.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.checkpoints import load_tensors, save_tensors, tensors_digest
from posefabric.engine.bench import Bench
from posefabric.engine.conclusion import measure
from posefabric.engine.inheritance import derived_net, recalibrate, untrained
from posefabric.engine.train import build_net, train
from posefabric.engine.trial import Trial
from posefabric.errors import UserError
from posefabric.evaluation.persons import HEADLINES
from posefabric.models.net import PoseNet
from posefabric.predictor import inherit
from posefabric.runs import SUPERNET_FILE, Run
from posefabric.strategies.derive import derive, file_name

logger = logging.getLogger(__name__)

Stages = dict[str, dict[str, Any]]


def keep_mixture(run: Run, found: Architecture, supernet: PoseNet) -> None:
    """What a search leaves for every derivation from it: the mixture and its weights."""
    run.save_architecture(found, SUPERNET_FILE)
    save_tensors(run.path / "weights.safetensors", supernet.state_dict())


def discretise(run: Run, bench: Bench, found: Architecture, supernet: PoseNet) -> dict[str, Any]:
    """Derive, measure and keep the net of a search in its run folder, by the method and budget of the configuration.

    The figures are those of the net that is kept, recalibrated or tuned; those of the stages before it stand beside
    them under `mixture/` and `inherited/`, and where it was tuned, `recalibrated/` and `tuned/`.
    """
    config, settings = bench.config, bench.config.search
    trial = Trial(bench, supernet)
    derived = derive(found, settings.derive, settings, trial.judge)
    name = file_name(settings.derive, settings)
    keep_derived(run, derived, name)
    net = derived_net(derived, trial.net).to(bench.device)
    run.note(untrained=untrained(net, supernet))
    mixed = derived_net(found, supernet).to(bench.device)
    stages = {"mixture": bench.evaluate(mixed), "inherited": bench.evaluate(net)}
    recalibrate(net, bench.weight_batches(settings.recalibration_batches))
    if settings.tuning_epochs:
        stages["recalibrated"] = bench.evaluate(net)
        tune(run, bench, net, mixed if config.train.distill else None)
    save_own_tensors(run, net, supernet.state_dict())
    measured = measure(run, net, bench.val, config)
    last = "tuned" if settings.tuning_epochs else "recalibrated"
    tell_gap({**stages, last: measured})
    if settings.tuning_epochs:
        stages[last] = {key: measured[key] for key in stages["inherited"]}
    figures = measured | {f"{stage}/{key}": value for stage, values in stages.items() for key, value in values.items()}
    run.save_figures(figures)
    return figures


def keep_derived(run: Run, derived: Architecture, name: str) -> None:
    """Make a derived net the run's own; others from the same search stay under their names."""
    run.save_architecture(derived)
    run.save_architecture(derived, f"architectures/{name}.json")
    run.note(derived=name)


def tune(run: Run, bench: Bench, net: PoseNet, teacher: PoseNet | None) -> None:
    """Train a net on, `search.tuning_epochs` epochs, as the command `train` does: a run of its own in `tuning/`."""
    epochs = {"epochs": bench.config.search.tuning_epochs}
    config = bench.config.model_copy(update={"train": bench.config.train.model_copy(update=epochs)})
    source = {"architecture": documents.to_data(net.architecture), "weights": tensors_digest(net.state_dict())}
    inner = _started(run.path / "tuning" / run.record["derived"], config.data_form(), run.record["data"] | source)
    if not inner.finished:
        train(inner, config, build_net(net.architecture, config, net.state_dict()), (bench.train, bench.val), teacher)
    inherit(net, load_tensors(inner.path / "weights.safetensors"))


def _started(folder: Path, config: Mapping[str, Any], data: Mapping[str, Any]) -> Run:
    """The training run in a folder; one of another net that had the name before gives way."""
    try:
        return Run.start(folder, "train", config, data)
    except UserError as error:
        if error.code != "run-differs":
            raise
        shutil.rmtree(folder)
        return Run.start(folder, "train", config, data)


def save_own_tensors(run: Run, net: PoseNet, supernet: Mapping[str, Tensor]) -> None:
    """Keep what differs from the supernet's weights: recalibrated norms, or all that was tuned."""
    own = {
        name: tensor
        for name, tensor in net.state_dict().items()
        if name not in supernet or not torch.equal(tensor, supernet[name].to(tensor.device))
    }
    if own:
        save_tensors(run.own_tensors_file, own)
    else:
        run.own_tensors_file.unlink(missing_ok=True)


def tell_gap(stages: Stages) -> None:
    """One line with the headline figure of every stage."""
    key = next((key for key in HEADLINES if all(key in values for values in stages.values())), None)
    if key is not None:
        told = ", ".join(f"{stage} {values[key]:.3g}" for stage, values in stages.items())
        logger.info("discretisation gap, %s: %s", key, told)
