"""A tiny tabular benchmark: every architecture of a cut space, trained, so that searches are judged in seconds.

- `cut`: the space, small enough to be enumerated, and the names of its architectures
- `protocol`: the people, how an architecture was trained on them, and how a strategy searches on the same
- `table`: what came out, shipped with the package

It compares strategies with the true ranking and guards them against regressions; it says nothing about pose estimation
at a size that anybody uses (docs/tabular.md).
"""

from posefabric.tabular.cut import architectures, cut_supernet, name_of
from posefabric.tabular.table import TabularBenchmark

__all__ = ["TabularBenchmark", "architectures", "cut_supernet", "name_of"]
