"""What an experiment shows: every arm with its spread, the contrasts with their intervals, and what it all cost.

Differences are paired: arms share their seeds and their persons. Two intervals stand beside each other because they
answer two questions: other *persons* for these very nets, and other *seeds* of the same arms. Only the second speaks of
a method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from posefabric.errors import UserError
from posefabric.evaluation.persons import PersonScores
from posefabric.evaluation.statistics import (
    Interval,
    detectable_difference,
    expected_best,
    holm,
    paired_difference,
    rank_correlation,
    relative_improvement,
    seed_difference,
    spread,
)
from posefabric.experiments.kinds import Random
from posefabric.experiments.results import Results, Trained, mean_persons, mean_score
from posefabric.experiments.spec import Spec

MIN_RANKED = 10
"""Genotypes from which on a rank correlation is told."""


@dataclass(frozen=True)
class ArmRow:
    """One arm. `nets` of `wanted` are trained; `sd` is over seeds (of their means), `sd_retrained` within them.

    `macs` and `parameters`: least and most. `hours` are those of a search and one training. `improvement`: per cent
    over the average random architecture.
    """

    kind: str
    nets: int
    wanted: int
    seeds: int
    mean: float | None = None
    sd: float | None = None
    sd_retrained: float | None = None
    macs: tuple[int, int] | None = None
    parameters: tuple[int, int] | None = None
    hours: float | None = None
    improvement: float | None = None


@dataclass(frozen=True)
class Contrast:
    """The first arm's mean score less the second's.

    `persons`: interval over persons, of all paired seeds together and of each (`pairs`); for AP in OKS. `over_seeds`:
    interval over seeds. Both p-values are also given as Holm adjusts them over the named contrasts.
    """

    first: str
    second: str
    difference: float | None = None
    persons: Interval | None = None
    persons_holm: float | None = None
    over_seeds: Interval | None = None
    over_seeds_holm: float | None = None
    pairs: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class BestOf:
    """What random search reaches in the time of an arm: the expected score of the best on val of `draws` draws."""

    arm: str
    random: str
    draws: int
    of: int
    score: float
    arm_mean: float


@dataclass(frozen=True)
class Ranking:
    """Kendall's tau-b of a score that is had before training with the score after it, over `genotypes`."""

    over: str
    by: str
    genotypes: int
    tau: Interval


@dataclass(frozen=True)
class Table:
    """All that an experiment shows so far; `missing` says what it lacks."""

    experiment: str
    metric: str
    split: str
    arms: Mapping[str, ArmRow]
    contrasts: Sequence[Contrast]
    best_of: Sequence[BestOf]
    rankings: Sequence[Ranking]
    detectable: float | None
    hours: float
    failed_hours: float
    missing: Mapping[str, str]


def tabulate(results: Results) -> Table:
    """The statistics of what is there."""
    spec = results.spec
    return Table(
        experiment=spec.name,
        metric=results.metric,
        split=results.on,
        arms={name: _row(results, name) for name in results.arms},
        contrasts=_contrasts(results),
        best_of=list(_best_of(results)),
        rankings=list(_rankings(results)),
        detectable=_detectable(results),
        hours=results.hours,
        failed_hours=results.failed_hours,
        missing=results.missing,
    )


def _row(results: Results, name: str) -> ArmRow:
    nets, spec = results.arms[name], results.spec
    wanted = len(spec.seeds_of(name)) * len(spec.train_seeds_of(name))
    kind = spec.all_arms()[name].kind_name
    if not nets:
        return ArmRow(kind, 0, wanted, 0)
    # draws are single nets, not repetitions of a seed
    groups = [[net] for net in nets] if _is_random(spec, name) else list(results.by_seed(name).values())
    over_seeds = spread([mean_score(group) for group in groups])
    within = [np.var([net.score for net in group], ddof=1) for group in groups if len(group) > 1]
    return ArmRow(
        kind=kind,
        nets=len(nets),
        wanted=wanted,
        seeds=len(groups),
        mean=over_seeds.mean,
        sd=_known(over_seeds.sd),
        sd_retrained=float(np.sqrt(np.mean(within))) if within else None,
        macs=(min(net.macs for net in nets), max(net.macs for net in nets)),
        parameters=(min(net.parameters for net in nets), max(net.parameters for net in nets)),
        hours=_hours(results, name),
        improvement=_improvement(results, name),
    )


def _hours(results: Results, name: str) -> float:
    """A search, where there is one, and one training."""
    searches = [hours for (arm, _), hours in results.search_hours.items() if arm == name]
    training = float(np.mean([net.hours for net in results.arms[name]]))
    return training + (float(np.mean(searches)) if searches else 0.0)


def _improvement(results: Results, name: str) -> float | None:
    drawn = _random_arms(results)
    if not drawn or drawn[0] == name or mean_score(results.arms[drawn[0]]) <= 0:
        return None
    return relative_improvement(results.means(name), [net.score for net in results.arms[drawn[0]]])


def _contrasts(results: Results) -> list[Contrast]:
    found = [_contrast(results, first, second) for first, second in results.spec.named_contrasts()]
    persons = holm({_name(c): c.persons.p_value for c in found if c.persons is not None})
    seeds = holm({_name(c): c.over_seeds.p_value for c in found if c.over_seeds is not None})
    return [replace(c, persons_holm=persons.get(_name(c)), over_seeds_holm=seeds.get(_name(c))) for c in found]


def _name(contrast: Contrast) -> str:
    return f"{contrast.first} - {contrast.second}"


def _contrast(results: Results, first: str, second: str) -> Contrast:
    """Over the seeds that both arms have; nothing where there are none."""
    ours, theirs = results.by_seed(first), results.by_seed(second)
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return Contrast(first, second)
    means = [(mean_score(ours[seed]), mean_score(theirs[seed])) for seed in seeds]
    scores = [[mean_persons(arm[seed]) for seed in seeds] for arm in (ours, theirs)]
    persons, pairs = None, {}
    weights = _weights([net for arm in (ours, theirs) for seed in seeds for net in arm[seed]])
    if weights is not None and sum(weights > 0) > 1:
        rows = [np.stack([row for row in arm if row is not None]) for arm in scores]
        persons = paired_difference(rows[0], rows[1], weights)
        pairs = {str(seed): paired_difference(rows[0][[i]], rows[1][[i]], weights) for i, seed in enumerate(seeds)}
    return Contrast(
        first,
        second,
        difference=float(np.mean([a - b for a, b in means])),
        persons=persons,
        over_seeds=seed_difference(*zip(*means, strict=True)) if len(seeds) > 1 else None,
        pairs=pairs,
    )


def _weights(nets: Sequence[Trained]) -> np.ndarray | None:
    """How much each person counts; None where a net's persons are out of reach. Nets on other persons do not pair."""
    known: list[PersonScores] = [net.persons for net in nets if net.persons is not None]
    if len(known) < len(nets):
        return None
    if any(not np.array_equal(persons.annotation_ids, known[0].annotation_ids) for persons in known):
        raise UserError("bad-run", "nets of one experiment were measured on different persons", "the same data for all")
    return known[0].weights


def _best_of(results: Results) -> Iterator[BestOf]:
    for drawn in _random_arms(results):
        draws = results.arms[drawn]
        for name, nets in results.arms.items():
            if nets and not _is_random(results.spec, name):
                number = int(min(len(draws), max(1, _hours(results, name) // _hours(results, drawn))))
                best = expected_best([net.score for net in draws], [net.val_score for net in draws], number)
                yield BestOf(name, drawn, number, len(draws), best, float(np.mean(results.means(name))))


def _rankings(results: Results) -> Iterator[Ranking]:
    groups = {name: results.arms[name] for name in _random_arms(results)}
    groups["searches"] = [net for nets in results.arms.values() for net in nets if net.unit.arm not in groups]
    for name, nets in groups.items():
        one_each = _one_of_each_genotype(nets)
        scored = [(net, score) for net, score in one_each if net.supernet_score is not None]
        if len(scored) < MIN_RANKED:
            continue
        after = [score for _, score in scored]
        for by in ("supernet_score", "macs", "parameters"):
            before = [float(getattr(net, by)) for net, _ in scored]
            tau = rank_correlation(before, after)
            yield Ranking(name, by, len(scored), tau)


def _one_of_each_genotype(nets: Sequence[Trained]) -> list[tuple[Trained, float]]:
    """A net of each arm and seed, with the mean score of its trainings."""
    found: dict[tuple[str, int], list[Trained]] = {}
    for net in nets:
        found.setdefault((net.unit.arm, net.unit.seed), []).append(net)
    return [(group[0], mean_score(group)) for group in found.values()]


def _detectable(results: Results) -> float | None:
    """For two arms of as many seeds as the experiment has, with the mean variance of its searched and fixed arms."""
    counts = [results.means(name) for name in results.arms if not _is_random(results.spec, name)]
    variances = [np.var(means, ddof=1) for means in counts if len(means) > 1]
    if not variances:
        return None
    return detectable_difference(float(np.sqrt(np.mean(variances))), len(results.spec.seeds))


def _random_arms(results: Results) -> list[str]:
    return [name for name, nets in results.arms.items() if nets and _is_random(results.spec, name)]


def _is_random(spec: Spec, name: str) -> bool:
    return isinstance(spec.all_arms()[name], Random)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
