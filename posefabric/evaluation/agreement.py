"""Whether searches from several seeds found the same, and whether one collapsed into skips: over data alone.

Where it stands in the walk: after the searches, on the mixtures they left and the rows they logged. Two seeds agree
when their derived nets differ in fewer choices than nets derived from random mixtures do; else what was found is the
seed's and not the data's (after Yu et al. 2020 and Yang et al. 2020, who compare searches with random choice).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype
from posefabric.space import ZERO, SearchSpace

SKIP = "skip_connect"
SKIP_ALARM = 0.5
"""Our choice: skips outweigh all other operations together."""
NUM_RANDOM, NUM_GROUPS = 40, 999
"""Random nets that are derived, and how often as many of them as there are seeds are compared with each other."""

CHANCE = 0.05
"""Seeds whose `p_value` is above this agree no better than chance."""

Derive = Callable[[Architecture], Architecture]


@dataclass(frozen=True)
class Agreement:
    """Of one fabric, over all pairs of seeds.

    `differing`: mean share of the choices (inputs of cells, operations of edges) that one derived net keeps and the
    other does not. `random`: the same of nets derived from random mixtures. `p_value`: the share of groups of random
    nets that differ as little; above 0.05 the seeds agree no better than chance. `alpha_tau`, `beta_tau`: mean Kendall
    tau-b of the multipliers of operations and of inputs; NaN where they are all equal.
    """

    differing: float
    random: float
    p_value: float
    alpha_tau: float
    beta_tau: float

    @property
    def by_chance(self) -> bool:
        """Whether the seeds agree no better than random nets do."""
        return self.p_value > CHANCE


@dataclass(frozen=True)
class SeedGroup:
    """Searches that differ in their seed alone: their names, how far they agree fabric by fabric, what is wrong."""

    runs: tuple[str, ...]
    fabrics: Mapping[str, Agreement]
    findings: tuple[str, ...]


def compare_seeds(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], found: Mapping[str, Architecture], derive: Derive
) -> SeedGroup:
    """All there is to say of searches from several seeds: run -> its logged rows, and run -> the mixture it found."""
    fabrics = agreement(list(found.values()), derive)
    return SeedGroup(tuple(found), fabrics, (*_of_runs(rows, found, derive), *_of_fabrics(fabrics)))


def agreement(found: Sequence[Architecture], derive: Derive, *, seed: int = 0) -> dict[str, Agreement]:
    """Fabric -> how far searches that began alike, one mixture per seed, ended alike.

    Random mixtures have logits from N(0, 1), as the paper's random control. Fewer than two seeds, and searches of
    different spaces, raise `UserError`.
    """
    _check_comparable(found)
    random = np.random.default_rng(seed)
    strangers = [derive(random_mixture(found[0], random)) for _ in range(NUM_RANDOM)]
    derived = [derive(architecture) for architecture in found]
    return {fabric: _of_fabric(fabric, found, derived, strangers, random) for fabric in found[0].fabrics()}


def random_mixture(like: Architecture, random: np.random.Generator) -> Architecture:
    """Every choice of an architecture's spaces, with multipliers of logits drawn from N(0, 1)."""
    return like.with_genotypes({name: _random_genotype(space, random) for name, (space, _) in like.fabrics().items()})


def skip_shares(architecture: Architecture) -> dict[str, float]:
    """Fabric -> mean share of `skip_connect` in what the edges of its cells keep, 0 to 1."""
    shares = {}
    for fabric, genotype in architecture.all_genotypes().items():
        edges = [edge for cell in genotype.cells.values() for edge in cell.edges if sum(edge.values())]
        shares[fabric] = float(np.mean([edge.get(SKIP, 0.0) / sum(edge.values()) for edge in edges]))
    return shares


def skip_threshold(whole: Architecture) -> float:
    """The `skip_share` that is an alarm in searches of a supernet: `SKIP_ALARM`.

    Where an even mixture already has as much, what lies halfway from it to skips alone.
    """
    even = [1 / len(space.operations) for space, _ in whole.fabrics().values() if SKIP in space.operations]
    share = float(np.mean(even)) if even else 0.0
    return SKIP_ALARM if share < SKIP_ALARM else (1 + share) / 2


def collapse_step(rows: Sequence[Mapping[str, Any]], threshold: float = SKIP_ALARM) -> int | None:
    """The logged step from which on `skip_share` stays above a threshold to the end; None if it does not end there."""
    alarm = None
    for row in rows:
        if "skip_share" in row:
            above = row["skip_share"] > threshold
            alarm = (row["step"] if alarm is None else alarm) if above else None
    return alarm


def findings(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], found: Mapping[str, Architecture], derive: Derive, *, seed: int = 0
) -> list[str]:
    """What is wrong with searches, in sentences: run -> its logged rows, and run -> the mixture it found."""
    said = _of_runs(rows, found, derive)
    return said + (_of_fabrics(agreement(list(found.values()), derive, seed=seed)) if len(found) > 1 else [])


def _of_runs(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], found: Mapping[str, Architecture], derive: Derive
) -> list[str]:
    said = []
    for run, logged in rows.items():
        threshold = skip_threshold(found[run]) if run in found else SKIP_ALARM
        step = collapse_step(logged, threshold)
        if step is not None:
            said.append(f"{run}: from step {step} on, skips have more than {threshold:.0%} of alpha")
    for run, architecture in found.items():
        for fabric, share in skip_shares(derive(architecture)).items():
            if share > SKIP_ALARM:
                said.append(f"{run}: skips are {share:.0%} of what the derived net keeps of {fabric}")
    return said


def _of_fabrics(fabrics: Mapping[str, Agreement]) -> list[str]:
    return [
        f"{fabric}: seeds differ in {seen.differing:.0%} of the choices, random nets in {seen.random:.0%}"
        for fabric, seen in fabrics.items()
        if seen.by_chance
    ]


def kept_weights(space: SearchSpace, genotype: Genotype) -> tuple[Float[np.ndarray, " A"], Float[np.ndarray, " I"]]:
    """Multipliers of all choices of operations and of inputs, 0 where not kept.

    Where a space has one alpha for all cells, an operation counts once, with the largest of its multipliers.
    """
    nothing = CellChoice({}, tuple({} for _ in space.edges))
    cells = {site.name: genotype.cells.get(site.name, nothing) for site in space.sites()}
    operations = [name for name in space.operations if name != ZERO]
    edges = np.array([[[edge.get(name, 0.0) for name in operations] for edge in cell.edges] for cell in cells.values()])
    inputs = [cells[site.name].inputs.get(source.slot, 0.0) for site in space.sites() for source in site.sources]
    alphas = edges.max(axis=0) if space.share_operations else edges
    return alphas.ravel(), np.array(inputs)


def _of_fabric(
    fabric: str,
    found: Sequence[Architecture],
    derived: Sequence[Architecture],
    strangers: Sequence[Architecture],
    random: np.random.Generator,
) -> Agreement:
    count = len(found)
    seen = _mean_of_pairs(_differing(fabric, derived), np.arange(count)[None])[0]
    apart = _differing(fabric, strangers)
    groups = np.array([random.permutation(NUM_RANDOM)[:count] for _ in range(NUM_GROUPS)])
    by_chance = _mean_of_pairs(apart, groups)
    alphas, betas = zip(*(kept_weights(*net.fabrics()[fabric]) for net in found), strict=True)
    return Agreement(
        differing=float(seen),
        random=float(_mean_of_pairs(apart, np.arange(NUM_RANDOM)[None])[0]),
        p_value=float((1 + (by_chance <= seen + 1e-12).sum()) / (NUM_GROUPS + 1)),
        alpha_tau=_mean_tau(alphas),
        beta_tau=_mean_tau(betas),
    )


def _differing(fabric: str, nets: Sequence[Architecture]) -> Float[np.ndarray, "M M"]:
    """Share of choices in which each two of M nets differ."""
    kept = np.array([np.concatenate(kept_weights(*net.fabrics()[fabric])) != 0 for net in nets])
    return np.asarray((kept[:, None] != kept).mean(axis=2))


def _mean_of_pairs(table: Float[np.ndarray, "M M"], groups: np.ndarray) -> Float[np.ndarray, " G"]:
    """Mean over all pairs inside each of G groups of rows."""
    size = groups.shape[1]
    return np.asarray(table[groups[:, :, None], groups[:, None]].sum(axis=(1, 2)) / (size * (size - 1)))


def _mean_tau(rows: Sequence[np.ndarray]) -> float:
    taus = [float(stats.kendalltau(first, second).statistic) for first, second in itertools.combinations(rows, 2)]
    return float(np.mean(taus))


def _random_genotype(space: SearchSpace, random: np.random.Generator) -> Genotype:
    shared = _random_edges(space, random)
    return Genotype(
        {
            site.name: CellChoice(
                inputs=dict(zip([s.slot for s in site.sources], _multipliers(len(site.sources), random), strict=True)),
                edges=shared if space.share_operations else _random_edges(space, random),
            )
            for site in space.sites()
        }
    )


def _random_edges(space: SearchSpace, random: np.random.Generator) -> tuple[Mapping[str, float], ...]:
    rows = [zip(space.operations, _multipliers(len(space.operations), random), strict=True) for _ in space.edges]
    return tuple({name: weight for name, weight in row if name != ZERO} for row in rows)


def _multipliers(count: int, random: np.random.Generator) -> list[float]:
    """Number of choices x softmax, as a supernet applies it."""
    powers = np.exp(random.normal(size=count))
    multipliers: list[float] = (count * powers / powers.sum()).tolist()
    return multipliers


def _check_comparable(found: Sequence[Architecture]) -> None:
    if len(found) < 2:
        raise UserError("bad-value", f"{len(found)} search", "2 seeds at least")
    spaces = [{name: space for name, (space, _) in net.fabrics().items()} for net in found]
    if any(other != spaces[0] for other in spaces):
        raise UserError("bad-architecture", "searches of different spaces or parts", "seeds of one search")
