"""How a search with partial channels ends: a derived net is kept, but nothing that it could inherit.

Its supernet's operations saw one of K channels, so their weights have another shape than those of the derived net
(PC-DARTS). What can be measured is the mixture; the net is trained from scratch.
"""

from __future__ import annotations

import logging
from typing import Any

from posefabric.architecture import Architecture
from posefabric.engine.bench import Bench
from posefabric.engine.discretisation import discretise, keep_derived
from posefabric.engine.trial import Trial
from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.models.net import PoseNet
from posefabric.runs import FROM_SCRATCH, Run
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import derive, file_name

logger = logging.getLogger(__name__)


def announce(run: Run, settings: SearchSettings) -> None:
    """Say before the search what it will not leave, and note it; a net that is to be tuned raises `UserError`."""
    if settings.tuning_epochs:
        found = f"search.tuning_epochs={settings.tuning_epochs} with partial channels"
        raise UserError("bad-value", found, "0: there are no weights to tune", "train the derived net from scratch")
    logger.warning("partial channels: the net derived from this search inherits no weights, train it from scratch")
    run.note(**{FROM_SCRATCH: True})


def keep_net(run: Run, bench: Bench, found: Architecture, supernet: PoseNet) -> dict[str, Any]:
    """Derive the net of a search and keep it: with its inherited weights, or where there can be none, without."""
    return (keep_untrained if found.partial else discretise)(run, bench, found, supernet)


def keep_untrained(run: Run, bench: Bench, found: Architecture, supernet: PoseNet) -> dict[str, Any]:
    """Keep the net derived from a search's mixture without any weights.

    The figures are those of the mixture, under `mixture/`, and what the derived net costs.
    """
    settings = bench.config.search
    derived = derive(found, settings.derive, settings, Trial(bench, supernet).judge)
    keep_derived(run, derived, file_name(settings.derive, settings))
    cost, mixed = count(derived), bench.evaluate(supernet)
    figures = {"parameters": cost.parameters, "macs": cost.macs, **{f"mixture/{key}": mixed[key] for key in mixed}}
    run.save_figures(figures)
    return figures
