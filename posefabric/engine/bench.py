"""What a search and every derivation from it share: the device, the persons to learn from and those to measure on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.data.loader import Batch
from posefabric.data.records import People
from posefabric.data.sources import require_images
from posefabric.engine.evaluate import evaluate
from posefabric.engine.loop import Plan, Source, build_engine
from posefabric.engine.scoring import Scoring, Shares
from posefabric.engine.skipping import SkippedImages
from posefabric.models.net import PoseNet
from posefabric.predictor import crop_settings
from posefabric.runs import Run
from posefabric.settings import SearchSettings
from posefabric.strategies import strategy


def search_sources(config: Config, supernet: Architecture, people: People) -> list[Source]:
    """Augmented batches of the training persons for the weights, and of those held out, if steps are made on them."""
    settings, view = config.search, crop_settings(config, supernet, augmented=True)
    shares = Shares.of(config, len(people))[: 1 + strategy(settings.strategy).steps_on_held_out]
    return [
        Source(people, view, settings.batch_size, config.data.num_workers, config.seed + number, share)
        for number, share in enumerate(shares)
    ]


def search_plan(settings: SearchSettings, sources: Sequence[Source]) -> Plan:
    """How long a search is: the weights' persons decide. A share too small for a batch raises `UserError`."""
    plan, *_ = [Plan.of(settings, len(source.indices or ())) for source in sources]
    return plan


class Bench:
    """`sources` are the batches that a search learns from (`search_sources`)."""

    def __init__(self, run: Run, config: Config, supernet: Architecture, train: People, val: People) -> None:
        require_images(train, val)
        settings = config.search
        self.config, self.train, self.val = config, train, val
        self.engine = build_engine(config, settings.precision)
        self.device = str(self.engine.device)
        self._skipped = SkippedImages(run, train)
        self.sources = search_sources(config, supernet, train)

    def shown(self, batch: Batch) -> Batch:
        """The batch on the device; damaged images are noted in the run folder."""
        return self._skipped.noted(batch).to(self.device)

    def weight_batches(self, count: int, start: int = 0) -> Iterator[Batch]:
        """Batches `start` to `start + count - 1` of the persons that the weights learn from."""
        plan = Plan(start + count, max(count, 1))
        return (self.shown(batch) for batch in self.sources[0].batches(plan, start))

    def evaluate(self, net: PoseNet) -> dict[str, float]:
        """The figures of a net on the validation persons."""
        return evaluate(net, self.val, self.config, self.device)

    def scoring(self, net: PoseNet) -> Scoring:
        """What nets with the weights of this one are worth, on held-out training persons."""
        return Scoring(net, self.config, self.train, self._skipped.noted)
