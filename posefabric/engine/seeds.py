"""Which of several finished searches differ in their seed alone, and whether they agree (`evaluation.agreement`)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posefabric.architecture import Architecture
from posefabric.evaluation.agreement import Agreement, SeedGroup, compare_seeds
from posefabric.film import FILM
from posefabric.runs import SUPERNET_FILE, Run
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import by_mixture, derive


def seed_groups(folders: Sequence[Path]) -> list[SeedGroup]:
    """Of every two or more searches of one recipe: how far they agree; other runs are passed over.

    Compared is what the recipe's method keeps of the mixtures, budgets aside.
    """
    found: dict[str, list[Run]] = {}
    for folder in folders:
        run = Run(folder)
        if (run.path / SUPERNET_FILE).is_file() and (run.path / FILM).is_file():
            found.setdefault(_all_but_the_seed(run), []).append(run)
    return [_compared(runs) for runs in found.values() if len(runs) > 1]


def _compared(runs: Sequence[Run]) -> SeedGroup:
    settings = runs[0].config.search.model_copy(update={"budget": None})
    names = [run.path.resolve().name for run in runs]
    distinct = names if len(set(names)) == len(names) else [str(run.path) for run in runs]
    named = dict(zip(distinct, runs, strict=True))
    return compare_seeds(
        {name: run.rows() for name, run in named.items()},
        {name: run.architecture(SUPERNET_FILE) for name, run in named.items()},
        lambda mixture: _derived(mixture, settings),
    )


def _derived(mixture: Architecture, settings: SearchSettings) -> Architecture:
    return derive(mixture, by_mixture(settings.derive), settings)


def _all_but_the_seed(run: Run) -> str:
    """What makes a search, as text; the machine it ran on does not."""
    config = {key: value for key, value in run.record["config"].items() if key not in ("seed", "accelerator")}
    return json.dumps([run.record.get("command"), config, run.record.get("data")], sort_keys=True)


def figures(groups: Sequence[SeedGroup]) -> dict[str, Any]:
    """Runs of a group -> fabric -> its figures, as plain data; what is not defined is None."""
    return {", ".join(group.runs): {name: _plain(seen) for name, seen in group.fabrics.items()} for group in groups}


def in_words(groups: Sequence[SeedGroup]) -> list[str]:
    """What the figures mean, and what else is wrong with the searches."""
    said = []
    for group in groups:
        chance = [name for name, seen in group.fabrics.items() if seen.by_chance]
        better = [name for name in group.fabrics if name not in chance]
        if better:
            said.append(f"{len(group.runs)} seeds agree more than random nets in {', '.join(better)}")
        if chance:
            said.append(f"{len(group.runs)} seeds agree no better than random nets in {', '.join(chance)}")
        said += group.findings
    return said


def _plain(seen: Agreement) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in asdict(seen).items()}
