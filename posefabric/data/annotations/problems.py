"""Behind stage 1 of the walk: what is wrong with a dataset, collected so that all of it is told at once.

A problem names the file, the JSON pointer, the ids, what was found, what was expected and what to do. A note is
something a user may want to know and need not change.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from posefabric.data.annotations.json_entries import pointer
from posefabric.errors import UserError

SHOWN = 50
"""How many problems (of a code) are printed; the others are counted."""

KEPT = 10_000
"""How many problems of a code are kept; the others are counted."""

LONGEST_POINTER = 1000
"""So many characters of a pointer are told."""

GIVE_UP = 100_000
"""After so many problems that block a file, the rest of it is not read."""

FIXES: dict[str, str] = {
    "too-large": "raise --max-json (`data check`) or data.max_json (--set) if the file is meant to be so large",
    "json-empty": "write the file again: whatever wrote it did not finish",
    "json-truncated": "copy or write the file again: its end is missing",
    "json-trailing-comma": "remove the comma",
    "json-encoding": "save the file as UTF-8 without a byte order mark",
    "json-syntax": "correct the text there, or write the file with a JSON library",
    "json-too-deep": "write the file again: annotations are not nested",
    "implausible": "write the file again: no keypoint file looks like this",
    "too-many-problems": "correct what is listed and check again",
    "duplicate-key": "keep one of the two: readers differ in which they take",
    "not-an-object": "write a COCO keypoint file: {\"images\": [...], \"annotations\": [...], \"categories\": [...]}",
    "missing-section": "add the list; other tools fail without it",
    "empty-section": "add its entries",
    "bad-entry": "write an object with the keys of the format, or remove the entry",
    "bad-id": "number the entries with integers, 1 and up, and use the same numbers where they are referred to",
    "id-zero": "number annotations from 1: COCO's own evaluation counts a match with id 0 as a miss",
    "duplicate-id": "give each entry an id of its own",
    "unknown-image": "add the image to images, or remove the annotation",
    "unknown-category": "add the category to categories, or correct the id",
    "unknown-name": "use the name of a category of the file",
    "missing-keypoint-names": "list the names of the keypoints in the category, in the order of the numbers",
    "bad-keypoint-names": "list distinct names in the category, in the order of the numbers",
    "skeleton-order": "put the names of skeleton and category in one order",
    "bad-limb": "write pairs of keypoint numbers; the first keypoint is 1",
    "bad-flip-pair": "write pairs of names that stand in keypoints",
    "flip-pair-sides": "pair each left keypoint with the right one of the same name",
    "bad-sigmas": "write one number above 0 a keypoint, or leave sigmas out",
    "keypoint-count": "write x, y, visibility for every keypoint of the category; 0, 0, 0 where one is not labelled",
    "bad-keypoints": "write numbers; 0, 0, 0 for a keypoint that is not labelled",
    "not-finite": "write 0, 0, 0 for a keypoint that is not labelled, and a finite number elsewhere",
    "bad-visibility": "write 0 (not labelled), 1 (labelled, hidden) or 2 (labelled, visible)",
    "num-keypoints": "write the number of keypoints with a visibility above 0",
    "missing-num-keypoints": "add the number of keypoints with a visibility above 0: COCO's own evaluation needs it",
    "keypoint-outside": "correct the coordinates (pixels of the image, not shares or another size), or set 0, 0, 0",
    "labelled-at-origin": "set the visibility of keypoints that are not labelled to 0",
    "bad-box": "write x, y, width, height in pixels, width and height above 0",
    "bad-area": "write the person's area in square pixels",
    "missing-area": "add the person's area in square pixels: COCO's own evaluation needs it",
    "bad-iscrowd": "write 0, or 1 for a crowd that is not scored",
    "missing-iscrowd": "add \"iscrowd\": 0: COCO's own evaluation needs it",
    "bad-head-size": "write the length in pixels, or leave the key out",
    "bad-size": "write the width and height of the image file in pixels",
    "size-differs": "write the size of the upright picture and annotate in its pixels",
    "bad-file-name": "write the file's path below the folder of the images",
    "unsafe-path": "write a path below the folder of the images: nothing outside it is read",
    "missing-file": "name the right folder with --images, or remove the image and its annotations",
    "bad-image": "replace the file, or remove the image and its annotations",
    "bad-skeleton": "correct the fields named: keypoints, mirror_pairs, limbs, sigmas or partitions",
    "bad-dataset": "correct the key named",
    "bad-score": "write a finite number",
    "no-results": "write a list of results",
}  # fmt: skip
"""What to do about each kind of problem."""

HARMLESS = frozenset({"id-zero", "num-keypoints", "missing-num-keypoints", "missing-area", "missing-iscrowd"})
"""Other tools fail on these; here the right value is derived."""

Id = int | str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to do; `pointer` is a JSON pointer (RFC 6901) into `file`."""

    code: str
    file: str
    pointer: str
    annotation_id: Id
    image_id: Id
    found: str
    expected: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self, with_fix: bool = True) -> str:
        """The problem without its code and file, for a list under them."""
        ids = {"annotation": self.annotation_id, "image": self.image_id}
        named = ", ".join(f"{name} {shown(value)}" for name, value in ids.items() if value is not None)
        place = f"{self.pointer or 'the file'}{f' ({named})' if named else ''}"
        fix = f"; to do: {self.fix}" if with_fix else ""
        return f"{place}: found {self.found}; expected {self.expected}{fix}"


@dataclass
class Findings:
    """The problems and notes of one file, in file order.

    Of each code the first `KEPT` are kept, the others only counted (`counts`). `notes` count what happens often, each
    with the pointer of the first; `remarks` are said once; `looked_at` says in words what was. `fixes` replace those
    of `FIXES`.
    """

    file: str
    fixes: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    num_blocking: int = 0
    looked_at: str = ""

    def add(self, code: str, place: Place, found: str, expected: str, fix: str = "") -> None:
        self.counts[code] += 1
        self.num_blocking += code not in HARMLESS
        if self.counts[code] <= KEPT:
            ids = (place.annotation_id, place.image_id)
            fix = fix or self.fixes.get(code) or FIXES[code]
            where, found, expected = printable(_cut(place.pointer)), printable(found), printable(expected)
            self.problems.append(Problem(code, self.file, where, *ids, found, expected, fix))

    def note(self, text: str, first: str) -> None:
        """Count something that is no problem; `first` is a JSON pointer."""
        self.notes[text] += 1
        self.firsts.setdefault(text, first)

    def noted(self) -> list[str]:
        """Remarks and notes as lines."""
        notes = [f"{text}: {count:,} (the first: {self.firsts[text]})" for text, count in self.notes.items()]
        left = [
            f"{count - KEPT:,} more of {code} are not listed" for code, count in self.counts.items() if count > KEPT
        ]
        return [printable(line) for line in (*self.remarks, *notes, *left)]

    def raise_blocking(self, code: str, todo: str = "correct these and try again") -> None:
        """Raise `UserError(code)` that tells of every problem but the harmless ones; without any, do nothing."""
        blocking = [problem for problem in self.problems if problem.code not in HARMLESS]
        if blocking:
            counts = Counter({name: count for name, count in self.counts.items() if name not in HARMLESS})
            raise UserError(code, summary(self.file, blocking, counts), todo=todo)

    def lines(self, shown_per_code: int) -> Iterator[str]:
        """The problems for people, grouped by code, the first few of each."""
        total = self.counts.total()
        found = f"{total:,} problem{'s' if total > 1 else ''}" if total else "no problems"
        yield f"{self.file}: {found}{f' in {self.looked_at}' if self.looked_at else ''}"
        for code, count in self.counts.items():
            problems = [problem for problem in self.problems if problem.code == code]
            same_fix = len({problem.fix for problem in problems}) == 1
            yield f"  {code} ({count:,}){f': {problems[0].fix}' if same_fix else ''}"
            yield from (f"    {problem.line(with_fix=not same_fix)}" for problem in problems[:shown_per_code])
            if count > shown_per_code:
                yield f"    and {count - shown_per_code:,} more"

    def harmless(self) -> str:
        """What was derived, counted; "" where nothing was."""
        return counted(Counter({code: self.counts[code] for code in sorted(HARMLESS) if self.counts[code]}))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a problem is: a JSON pointer, and the ids of the annotation and the image it is about."""

    pointer: str
    annotation_id: Id = None
    image_id: Id = None

    def at(self, *steps: str | int) -> Place:
        return Place(self.pointer + pointer(*steps), self.annotation_id, self.image_id)


def summary(file: str, problems: Sequence[Problem], counts: Counter[str]) -> str:
    """The first `SHOWN` problems of a file, one a line, and how many there are beyond them."""
    total = counts.total()
    lines = [f"{problem.line()} [{problem.code}]" for problem in problems[:SHOWN]]
    left = counts - Counter(problem.code for problem in problems[:SHOWN])
    if left:
        lines.append(f"and {left.total():,} more: {counted(left)}")
    if total == 1:
        return f"{file} {lines[0]}"
    return "\n  ".join([f"{file} has {total:,} problems:", *lines])


def _cut(place: str) -> str:
    """A JSON pointer, cut where it leads deeper than annotations go."""
    return place if len(place) <= LONGEST_POINTER else f"{place[:LONGEST_POINTER]}..."


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in counts.most_common())


def shown(value: Any) -> str:
    """A value of a JSON file as text, cut where it is long."""
    if value is ...:
        return "nothing"
    if isinstance(value, (list, dict)) and (len(value) > 8 or any(isinstance(item, (list, dict)) for item in value)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,} entries"
    text = json.dumps(value[:60] if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:50]} ..."


def printable(text: str) -> str:
    """Text that a terminal shows on one line, whatever a file's names hold."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
