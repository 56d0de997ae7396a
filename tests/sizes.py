"""How much of a test is run: `make test-long` sets POSEFABRIC_LONG=1, and tests marked `long` make more of it then."""

from __future__ import annotations

import os

LONG = os.environ.get("POSEFABRIC_LONG") == "1"
