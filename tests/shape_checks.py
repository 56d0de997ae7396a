"""The checker of shapes and types in signatures, installed by `conftest.py` for the packages it names.

An int is a float here, as type checkers have it (PEP 484).
"""

from beartype import BeartypeConf, beartype

CHECKED = [
    "posefabric.models",
    "posefabric.heatmaps",
    "posefabric.geometry",
    "posefabric.optimization",
    "posefabric.predictor",
    "posefabric.data",
]

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
