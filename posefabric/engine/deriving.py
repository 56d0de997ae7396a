"""Another net from a search that is over: derived anew, and where its persons are at hand, measured and tuned."""

from __future__ import annotations

import logging
import shutil

from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.data.records import People
from posefabric.engine.bench import Bench
from posefabric.engine.discretisation import keep_derived
from posefabric.engine.from_scratch import announce, keep_net
from posefabric.engine.inheritance import supernet_of
from posefabric.reporting import write_report
from posefabric.runs import SUPERNET_FILE, Run
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import derivation, derive, file_name

logger = logging.getLogger(__name__)


def needs_people(settings: SearchSettings) -> bool:
    """Whether a derivation cannot do without the data: it judges by scores, or the net is tuned."""
    return derivation(settings.derive).judged or settings.tuning_epochs > 0


def derive_again(run: Run, config: Config, people: tuple[People, People] | None) -> Architecture:
    """Put another net into a run folder, by the method and budget of `config.search`; `people` are (train, val).

    Without people nothing is measured, and the figures and pictures of the net before are dropped.
    """
    found = run.architecture(SUPERNET_FILE)
    if found.partial:
        announce(run, config.search)
    if people is None:
        _keep_unmeasured(run, derive(found, config.search.derive, config.search), config.search)
    else:
        bench = Bench(run, config, found, *people)
        keep_net(run, bench, found, supernet_of(run, found).to(bench.device))
    run.seal()
    write_report([run.path], run.path / "report.html")
    return run.architecture()


def _keep_unmeasured(run: Run, derived: Architecture, settings: SearchSettings) -> None:
    name = file_name(settings.derive, settings)
    run.note(derived=name, visible_threshold=None)
    if run.own_tensors_file.is_file() and run.architecture(f"architectures/{name}.json") != derived:
        run.own_tensors_file.unlink()  # they fit the net that had this name before
    keep_derived(run, derived, name)
    run.save_figures({key: value for key, value in run.figures().items() if key.startswith("mixture/")})
    shutil.rmtree(run.path / "pictures", ignore_errors=True)
    (run.path / "diagnosis.json").unlink(missing_ok=True)
