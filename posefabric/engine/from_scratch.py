"""How a search with partial channels ends: a derived net is kept, but nothing that it could inherit.

Its supernet's operations saw one of K channels, so their weights have another shape than those of the derived net
(PC-DARTS). What can be measured is the mixture; the net is trained from scratch.
"""

from __future__ import annotations

import logging
from typing import Any

from posefabric.architecture import Architecture
from posefabric.checkpoints import save_tensors
from posefabric.config import Config
from posefabric.data.records import People
from posefabric.engine.discretisation import SUPERNET_FILE
from posefabric.engine.evaluate import evaluate
from posefabric.models.cost import count
from posefabric.models.net import PoseNet
from posefabric.runs import FROM_SCRATCH, Run
from posefabric.strategies.derive import derive, file_name

logger = logging.getLogger(__name__)


def announce(run: Run) -> None:
    """Say before the search what it will not leave, and note it."""
    logger.warning("partial channels: the net derived from this search inherits no weights, train it from scratch")
    run.note(**{FROM_SCRATCH: True})


def keep_untrained(run: Run, config: Config, found: Architecture, supernet: PoseNet, people: People) -> dict[str, Any]:
    """Keep a search's mixture with its weights, and the net derived of it without any.

    The figures are those of the mixture, under `mixture/`, and what the derived net costs.
    """
    settings = config.search
    derived, name = derive(found, settings.derive, settings), file_name(settings.derive, settings)
    run.save_architecture(found, SUPERNET_FILE)
    run.save_architecture(derived)
    run.save_architecture(derived, f"architectures/{name}.json")
    save_tensors(run.path / "weights.safetensors", supernet.state_dict())
    run.note(derived=name)
    cost = count(derived)
    mixed = evaluate(supernet, people, config, str(next(supernet.parameters()).device))
    figures = {"parameters": cost.parameters, "macs": cost.macs, **{f"mixture/{key}": mixed[key] for key in mixed}}
    run.save_figures(figures)
    return figures
