"""How a population of nets goes on: an Optuna study is asked for the next net and told its score. Extra `sweep`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from posefabric.settings import SearchSettings
from posefabric.strategies.candidates import TRIES, Contest, Pool
from posefabric.strategies.genes import Genes, Genome

logger = logging.getLogger(__name__)

STREAM = 5
"""Keeps mutations apart from what else is drawn from a seed."""

JOIN = "+"
"""Between the names of what a gene keeps, where it is a study's parameter."""


def evolve(pool: Pool, contest: Contest, settings: SearchSettings, seed: int) -> None:
    """Enter nets until `settings.evaluations` different ones have competed, or no further one is found.

    A net outside the band (for NSGA-II, above it) is rejected before it is scored.
    """
    against_macs = settings.evolution == "nsga2"
    study = _study(pool.genes, settings, seed)
    for number in range(settings.population):
        genome = pool.draw(seed, number).genome
        if genome is not None:
            study.enqueue_trial(as_parameters(genome))
    space = search_space(pool.genes)
    in_vain = 0
    while len(contest) < settings.evaluations and in_vain < TRIES:
        trial, competed = study.ask(space), len(contest)
        genome = as_genome(trial.params)
        if _admitted(pool, macs := pool.macs(genome), against_macs):
            score = contest.enter(pool.build(genome, {"seed": seed, "trial": trial.number}))
            study.tell(trial, [score, macs] if against_macs else score)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        in_vain = in_vain + 1 if len(contest) == competed else 0
    if len(contest) < settings.evaluations:
        logger.warning("no new net in %d tries: %d of %d compared", TRIES, len(contest), settings.evaluations)


class Ageing(BaseSampler):
    """Regularised evolution: the best of `search.tournament` of the youngest `search.population` nets, mutated once.

    The oldest die by no longer being among the youngest, however good they are.
    """

    def __init__(self, genes: Genes, settings: SearchSettings, seed: int) -> None:
        self._genes, self._settings, self._seed = genes, settings, seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return search_space(self._genes)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The child's genes; none for the random nets with which a study begins."""
        done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        alive = done[-self._settings.population :]
        if not alive:
            return {}
        random = np.random.default_rng([self._seed, trial.number, STREAM])
        entrants = random.permutation(len(alive))[: self._settings.tournament]
        parent = max((alive[i] for i in entrants), key=lambda entrant: entrant.values[0])
        return as_parameters(self._genes.mutated(as_genome(parent.params), random))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} comes from a parent or a random net")


def search_space(genes: Genes) -> dict[str, BaseDistribution]:
    """Every gene as one categorical parameter."""
    return {
        name: CategoricalDistribution([JOIN.join(kept) for kept in gene.values]) for name, gene in genes.table.items()
    }


def as_parameters(genome: Genome) -> dict[str, str]:
    """A genome as a trial's parameters."""
    return {name: JOIN.join(kept) for name, kept in genome.items()}


def as_genome(parameters: Mapping[str, str]) -> Genome:
    """The genome of a trial's parameters."""
    return {name: tuple(kept.split(JOIN)) for name, kept in parameters.items()}


def _study(genes: Genes, settings: SearchSettings, seed: int) -> Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if settings.evolution == "nsga2":
        sampler: BaseSampler = NSGAIISampler(population_size=settings.population, seed=seed)
        return optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    return optuna.create_study(sampler=Ageing(genes, settings, seed), direction="maximize")


def _admitted(pool: Pool, macs: int, against_macs: bool) -> bool:
    if against_macs and pool.band is not None:
        return macs <= pool.band.most
    return pool.holds(macs)
