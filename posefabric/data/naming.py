"""What the names of keypoints tell: which mirror which, which have known sigmas, what a group of them is called.

Where it stands in the walk: before it, when a dataset is described (`data init`) and where a file names no flip pairs.
Everything found here is a guess to be confirmed.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from posefabric.skeletons import SKELETONS

_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+|[^\W\d_]+")

Words = tuple[str, ...]


def words(name: str) -> Words:
    """A name's words in lower case: `"Left Eye"`, `"leftEye"`, `"left_eye"` are (left, eye), `"LElbow"` (l, elbow)."""
    return tuple(word.lower() for word in _WORD.findall(name)) or (name,)


def side(name: str) -> str | None:
    """`"left"`, `"right"`, or None where no word of the name says a side."""
    first = next((word for word in words(name) if word in _OTHER_SIDE), None)
    return {"l": "left", "r": "right"}.get(first, first) if first else None


def canonical(name: str) -> str:
    """The name as the built-in skeletons write it: the side spelt out and first, `_` between words."""
    return "_".join(filter(None, (side(name), _stem(name))))


def guess_mirror_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The pairs (left, right) whose names differ in their sides alone, in the order of the names.

    A side is the word left, right, l or r; where a name is one word (`lefteye`, `lankle`), its beginning or end.
    """
    by_words = {words(name): name for name in names}
    lower = {name.lower(): name for name in names}
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        swapped = tuple(_OTHER_SIDE.get(word, word) for word in words(name))
        mirrored = by_words.get(swapped) if swapped != words(name) else _glued_partner(name, lower)
        if mirrored is None or not taken.isdisjoint((name, mirrored)):
            continue
        taken |= {name, mirrored}
        is_right = side(name) == "right" or (side(name) is None and _starts_right(name, mirrored))
        pairs |= {mirrored: name} if is_right else {name: mirrored}
    return tuple(pairs.items())


def unpaired(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The names outside all pairs: taken to lie on the middle line."""
    paired = {name for pair in pairs for name in pair}
    return [name for name in names if name not in paired]


def _glued_partner(name: str, lower: dict[str, str]) -> str | None:
    """The name that differs by a side written without a gap."""
    text = name.lower()
    for word, other in _OTHER_SIDE.items():
        for found, partner in (
            (text.startswith(word), other + text[len(word) :]),
            (text.endswith(word), text[: -len(word)] + other),
        ):
            if found and partner in lower and len(text) > len(word):
                return lower[partner]
    return None


def _starts_right(name: str, mirrored: str) -> bool:
    """Of two names that differ in a glued side: whether the first has the right one."""
    first = next((a for a, b in zip(name.lower(), mirrored.lower(), strict=False) if a != b), "l")
    return first == "r"


_KNOWN_SIGMAS = {
    name: sigma
    for skeleton in SKELETONS.values()
    for name, sigma in zip(skeleton.keypoints, skeleton.sigmas, strict=True)
}


def known_sigma(name: str) -> float | None:
    """The OKS sigma of a keypoint that a built-in skeleton has under this name, however written."""
    return _KNOWN_SIGMAS.get(canonical(name))


def name_parts(parts: Sequence[Sequence[str]]) -> list[str]:
    """A readable, distinct name for each group of keypoints.

    It is what all of them share, else their few words, else a word that most of them share, else `partN`.
    """
    order = dict.fromkeys(_stem(name) for names in parts for name in names)
    titles = [_title(names, list(order)) or f"part{number}" for number, names in enumerate(parts, start=1)]
    counts = Counter(titles)
    taken = set(titles)
    distinct = []
    for title in titles:
        numbered = (f"{title}_{number}" for number in itertools.count(1))
        name = title if counts[title] == 1 else next(name for name in numbered if name not in taken)
        taken.add(name)
        distinct.append(name)
    return distinct


def _title(names: Sequence[str], order: Sequence[str]) -> str | None:
    """A word for a part; stems stand in `order`, so that mirrored parts differ in their sides alone."""
    sides = {side(name) for name in names}
    prefix = [*filter(None, sides)] if len(sides) == 1 else []
    stems = [_stem(name) for name in names]
    distinct = [stem for stem in order if stem and stem in stems]
    if len(distinct) == 1:
        return "_".join([*prefix, *distinct])
    nouns = [[word for word in stem.split("_") if word and not word.isdigit()] for stem in stems]
    shared = [word for word in nouns[0] if all(word in others for others in nouns)]
    if shared:
        return "_".join([*prefix, *shared])
    if distinct and len("_".join(distinct).split("_")) <= 4:
        return "_".join([*prefix, *distinct])
    often = Counter(word for words_of_one in nouns for word in dict.fromkeys(words_of_one))
    for word, number in often.most_common(1):
        if 2 * number > len(names):
            return "_".join([*prefix, word])
    return None


def _stem(name: str) -> str:
    """The words of a name without its side."""
    return "_".join(word for word in words(name) if word not in _OTHER_SIDE)
