"""What a rehearsed crash says where there is nothing to rehearse; that it proves a resume, `test_kills` shows."""

from __future__ import annotations

import pytest

from posefabric.engine.rehearsal import rehearse
from posefabric.errors import UserError


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["train", "--help"], "was over before it could be killed after 3 steps; allowed: 12 steps or more"),
        (["train", "--no-such-option"], "No such option"),
    ],
)
def test_a_training_that_cannot_be_killed_proves_nothing(line: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        rehearse(line)
    assert caught.value.code == "rehearsal-failed"
