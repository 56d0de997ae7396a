"""What people call: one function per command, the same for `posefabric NAME` and `posefabric.NAME(...)`.

Each returns a `Result`: the figures it found (printed as a table, or as JSON with `--json`) and what it wrote. torch is
imported only inside the commands that need it, so that `--help` is quick.
"""

from posefabric.commands.arguments import Result
from posefabric.commands.datasets import check, download, import_, init, synthesize, view
from posefabric.commands.experiments import run, table, work
from posefabric.commands.importing import import_weights
from posefabric.commands.learning import demo, derive, search, train
from posefabric.commands.measuring import evaluate
from posefabric.commands.tables import explain, recipes
from posefabric.commands.using import doctor, predict, profile, report, show

__all__ = [
    "Result",
    "check",
    "demo",
    "derive",
    "doctor",
    "download",
    "evaluate",
    "explain",
    "import_",
    "import_weights",
    "init",
    "predict",
    "profile",
    "recipes",
    "report",
    "run",
    "search",
    "show",
    "synthesize",
    "table",
    "train",
    "view",
    "work",
]
