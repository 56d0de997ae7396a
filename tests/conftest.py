"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook
from shape_checks import CHECKED
from sizes import LONG

install_import_hook(CHECKED, "shape_checks.typechecker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`slow` tests are for `make test-long`."""
    for item in items:
        if item.get_closest_marker("slow") and not LONG:
            item.add_marker(pytest.mark.skip(reason="make test-long"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data named by `POSEFABRIC_DATA`; tests that need it skip without it."""
    folder = os.environ.get("POSEFABRIC_DATA")
    if not folder:
        pytest.skip("POSEFABRIC_DATA is not set: tests on real data are skipped")
    return Path(folder)
