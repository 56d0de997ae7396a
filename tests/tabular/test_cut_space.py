"""The cut space: its architectures are those that argmax can derive, each under one name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from posefabric.errors import UserError
from posefabric.evaluation.agreement import random_mixture
from posefabric.strategies.derive import derive
from posefabric.tabular import architectures, cut_supernet, name_of
from posefabric.tabular.cut import PARTS, part_genotypes
from posefabric.tabular.protocol import CONFIG


def test_space_has_fifteen_genotypes_a_part_and_so_225_architectures() -> None:
    assert len(part_genotypes()) == 15
    assert len(architectures()) == 225
    assert all(name_of(architecture) == name for name, architecture in architectures().items())


def test_argmax_of_any_mixture_is_in_the_space_and_nothing_else_is() -> None:
    random, found = np.random.default_rng(0), set[str]()
    for _ in range(300):
        derived = derive(random_mixture(cut_supernet(), random), "argmax", CONFIG.search)
        upper, lower = name_of(derived).split("/")
        assert derived.genotypes == dict(zip(PARTS, (part_genotypes()[upper], part_genotypes()[lower]), strict=True))
        found |= {upper, lower}
    assert found == set(part_genotypes())


def test_name_says_the_path_and_the_operation() -> None:
    genotype = part_genotypes()["4-8:sep_conv_3x3"]
    assert {site: dict(cell.inputs) for site, cell in genotype.cells.items()} == {
        "layer1_stride8": {"finer": 1.0},
        "layer2_stride4": {"coarser": 1.0},
    }


@pytest.mark.parametrize("change", ["whole", "size", "mixture"])
def test_others_are_refused(change: str) -> None:
    known = architectures()["4:skip_connect/4:skip_connect"]
    halved = {
        name: dataclasses.replace(
            genotype,
            cells={site: dataclasses.replace(cell, inputs={"feature": 0.5}) for site, cell in genotype.cells.items()},
        )
        for name, genotype in known.genotypes.items()
    }
    others = {
        "whole": cut_supernet(),
        "size": dataclasses.replace(known, input_hw=(64, 64)),
        "mixture": dataclasses.replace(known, genotypes=halved),
    }
    with pytest.raises(UserError, match="not in the tabular benchmark"):
        name_of(others[change])
