"""Training survives damaged images, and says so: each is warned of once, and the run folder lists them all."""

from __future__ import annotations

import logging

from posefabric import ranks
from posefabric.data.images import shown
from posefabric.data.loader import Batch
from posefabric.data.records import People
from posefabric.runs import SKIPPED_IMAGES, Run

logger = logging.getLogger(__name__)


class SkippedImages:
    """The damaged images that a run met; it goes on with those noted before an interruption."""

    def __init__(self, run: Run, people: People) -> None:
        self.run, self.people = run, people
        self._names: set[str] = set(run.record.get(SKIPPED_IMAGES, ()))

    def noted(self, batch: Batch) -> Batch:
        """The batch, once what it skipped stands in the run folder."""
        met = {self.people.record(index).image_path for index in batch.skipped.tolist()}
        if ranks.highest(len(met - self._names))[0]:
            new = {name for names in ranks.collect(sorted(met)) for name in names} - self._names
            for name in sorted(new):
                logger.warning("%s is damaged; other persons stand in for those on it", shown(name))
            self._names |= new
            self.run.note(**{SKIPPED_IMAGES: sorted(self._names)})
        return batch
