"""People kept in memory once read, for datasets small enough: no photograph is decoded or rendered twice."""

from __future__ import annotations

from posefabric.data.records import GroundTruth, Image, People, PersonRecord
from posefabric.skeletons import Skeleton


class InMemory:
    """The same people, each read at most once per process; memory grows by one image per person."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._read: dict[int, tuple[PersonRecord, Image]] = {}

    @property
    def skeleton(self) -> Skeleton:
        return self.people.skeleton

    def truth(self) -> GroundTruth:
        return self.people.truth()

    def __len__(self) -> int:
        return len(self.people)

    def record(self, index: int) -> PersonRecord:
        return self._person(index)[0]

    def image(self, index: int) -> Image:
        return self._person(index)[1]

    def _person(self, index: int) -> tuple[PersonRecord, Image]:
        if index not in self._read:
            self._read[index] = self.people.record(index), self.people.image(index)
        return self._read[index]
