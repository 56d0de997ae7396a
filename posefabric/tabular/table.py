"""The table: what every architecture of the cut space reached, and what can be asked of it.

A score is the mean over the seeds of a training unless one seed is named. No torch here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

import numpy as np

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.documents import STRICT
from posefabric.errors import UserError, unknown_name
from posefabric.evaluation.statistics import Interval, rank_correlation
from posefabric.tabular.cut import architectures, cut_supernet, name_of

Metric = Literal["loss", "pck", "val_loss", "val_pck"]
LOWER_IS_BETTER = ("loss", "val_loss")
PROXIES = ("macs", "parameters", "seconds")
"""What is known of an architecture besides its scores; `seconds` is the mean over the seeds."""

FILE = "table.json"


@dataclass(frozen=True)
class Trained:
    """One training: `loss` and `val_loss` are heatmap losses times 1000 on the test and the validation people.

    `pck` and `val_pck` are PCK@0.2, 0 to 100; `curve` is the training loss times 1000, the mean of each eighth of the
    steps; `seconds` are the process's own, on a machine that was shared.
    """

    loss: float
    pck: float
    val_loss: float
    val_pck: float
    curve: tuple[float, ...]
    seconds: float

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Row:
    """One architecture: multiply-adds on a crop, parameters, and its trainings, seed 0 first."""

    macs: int
    parameters: int
    seeds: tuple[Trained, ...]

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class TabularBenchmark:
    """All architectures of the cut space by name (`cut.name_of`), trained from the same number of seeds each."""

    rows: Mapping[str, Row]
    format: Literal[1] = 1

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        wanted, counts = architectures().keys(), {len(row.seeds) for row in self.rows.values()}
        if self.rows.keys() != wanted or len(counts) != 1 or 0 in counts:
            found = f"{len(self.rows)} architectures, trained {sorted(counts)} times"
            raise UserError("bad-value", found, f"all {len(wanted)}, the same number of times each")

    @staticmethod
    @functools.cache
    def shipped() -> TabularBenchmark:
        """The table that comes with the package."""
        text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
        return documents.from_json(TabularBenchmark, text, code="bad-value", where=FILE)

    @property
    def supernet(self) -> Architecture:
        """What a strategy searches in."""
        return cut_supernet()

    @property
    def num_seeds(self) -> int:
        return len(next(iter(self.rows.values())).seeds)

    def query(self, architecture: Architecture | str, metric: Metric = "loss", seed: int | None = None) -> float:
        """The score of an architecture, or of one by name.

        One that is not of the space raises `UserError("bad-architecture")`, an unknown name "unknown-name".
        """
        name = architecture if isinstance(architecture, str) else name_of(architecture)
        if name not in self.rows:
            raise unknown_name("architecture of the tabular benchmark", name, tuple(self.rows))
        if metric not in get_args(Metric):
            raise unknown_name("metric", metric, get_args(Metric))
        if seed is not None and not 0 <= seed < self.num_seeds:
            raise UserError("bad-value", f"seed {seed}", f"0 to {self.num_seeds - 1}, or None for their mean")
        trained = self.rows[name].seeds if seed is None else self.rows[name].seeds[seed : seed + 1]
        return float(sum(getattr(one, metric) for one in trained) / len(trained))

    def scores(self, metric: Metric = "loss", seed: int | None = None) -> dict[str, float]:
        """Name -> score."""
        return {name: self.query(name, metric, seed) for name in self.rows}

    def ranking(self, metric: Metric = "loss", seed: int | None = None) -> list[str]:
        """Names, best first."""
        scores = self.scores(metric, seed)
        return sorted(scores, key=lambda name: scores[name], reverse=metric not in LOWER_IS_BETTER)

    def percentile(self, architecture: Architecture | str, metric: Metric = "loss") -> float:
        """The share of the other architectures that are worse, 0 to 100; ties count half."""
        scores = np.array(list(self.scores(metric).values()))
        own = self.query(architecture, metric)
        worse = (scores > own) if metric in LOWER_IS_BETTER else (scores < own)
        return float(100 * (worse.sum() + ((scores == own).sum() - 1) / 2) / (len(scores) - 1))

    def mean_random(self, metric: Metric = "loss") -> float:
        """The mean score of all architectures: what drawing one, each as likely, is worth."""
        return float(np.mean(list(self.scores(metric).values())))

    def improvement(self, architecture: Architecture | str, metric: Metric = "loss") -> float:
        """By how many per cent of the mean random architecture's score one is better; below 0 it is worse."""
        mean = self.mean_random(metric)
        gain = self.query(architecture, metric) - mean
        return 100 * (-gain if metric in LOWER_IS_BETTER else gain) / mean

    def seed_noise(self, metric: Metric = "loss") -> float:
        """The standard deviation of a score over seeds, pooled over architectures."""
        rows = [[getattr(trained, metric) for trained in row.seeds] for row in self.rows.values()]
        return float(np.sqrt(np.var(rows, axis=1, ddof=1).mean()))

    def seed_agreement(self, metric: Metric = "loss") -> float:
        """Mean Kendall tau of the rankings of each two seeds: no score of one training can be expected to do better."""
        pairs = itertools.combinations(range(self.num_seeds), 2)
        taus = [self.correlation(self.scores(metric, first), metric, second).estimate for first, second in pairs]
        return float(np.mean(taus)) * (-1 if metric in LOWER_IS_BETTER else 1)

    def proxy(self, name: str) -> dict[str, float]:
        """Name -> one of `PROXIES`."""
        if name not in PROXIES:
            raise unknown_name("proxy", name, PROXIES)
        if name == "seconds":
            return {key: float(np.mean([trained.seconds for trained in row.seeds])) for key, row in self.rows.items()}
        return {key: float(getattr(row, name)) for key, row in self.rows.items()}

    def correlation(self, scores: Mapping[str, float], metric: Metric = "loss", seed: int | None = None) -> Interval:
        """Kendall's tau-b of scores of some architectures, the higher the better, with their true ranking.

        1 is the same ranking, -1 the reverse; the interval is over architectures.
        """
        truth = self.scores(metric, seed)
        sign = -1 if metric in LOWER_IS_BETTER else 1
        return rank_correlation(list(scores.values()), [sign * truth[name] for name in scores])
