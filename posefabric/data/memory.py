"""People kept in memory once read, for datasets small enough: no photograph is decoded or rendered twice."""

from __future__ import annotations

from posefabric.data.records import GroundTruth, Image, People, PersonRecord
from posefabric.skeletons import Skeleton


class InMemory:
    """The same people, each image read at most once per process; memory grows by all of them."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._records: dict[int, PersonRecord] = {}
        self._images: dict[str | int, Image] = {}
        self._truth: GroundTruth | None = None

    @property
    def skeleton(self) -> Skeleton:
        return self.people.skeleton

    def truth(self) -> GroundTruth:
        if self._truth is None:
            self._truth = self.people.truth()
        return self._truth

    def __len__(self) -> int:
        return len(self.people)

    def record(self, index: int) -> PersonRecord:
        if index not in self._records:
            self._records[index] = self.people.record(index)
        return self._records[index]

    def image(self, index: int) -> Image:
        file = self.record(index).image_path or index
        if file not in self._images:
            self._images[file] = self.people.image(index)
        return self._images[file]
