"""One self-contained HTML page about finished runs; it reads run folders and nothing else.

Where it stands in the walk: after it. No torch: a report is made from what a run wrote down.
"""

from posefabric.reporting.page import write_report

__all__ = ["write_report"]
