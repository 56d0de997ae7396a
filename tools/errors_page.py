"""Writes docs/errors.md from `posefabric.errors.CODES`; run by `make fix`, compared by a test."""

from __future__ import annotations

from pathlib import Path

from posefabric.errors import CODES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "errors.md"

HEAD = """\
# Errors and their cures

Every error that a user can cause is a `posefabric.errors.UserError`, a `ValueError` with a code. Its message
says what was given, what is allowed and what to do. `posefabric explain CODE` prints the entry of this page.
The command line exits with the code's exit code: 2 usage, 65 bad data, 74 input or output. Besides these, 0
is done, 70 is a bug of ours, 130 and 143 are an interrupt and a termination.

This page is written by `make fix` from `posefabric.errors.CODES`.
"""


def errors_page() -> str:
    """The whole page, one section per code in the order of `CODES`."""
    sections = (
        f"\n## {name}\n\n{code.meaning}\n\n- Exit code: {code.exit_code}\n- Cure: {code.cure}\n"
        for name, code in CODES.items()
    )
    return HEAD + "".join(sections)


if __name__ == "__main__":
    PAGE.write_text(errors_page(), encoding="utf-8")
