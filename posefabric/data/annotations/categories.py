"""Behind stage 1 of the walk: the categories of a COCO file, checked and turned into skeletons.

COCO's limbs are pairs of keypoint numbers from 1 on. Two keys are ours: `flip_pairs`, pairs of names, and `sigmas`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posefabric.data import naming
from posefabric.data.annotations.problems import Findings, Place, shown
from posefabric.errors import suggestion
from posefabric.skeletons import SKELETONS, Skeleton

Pair = tuple[str, str]

LISTED = 8
"""How many names a message lists of many."""

MOST_KEYPOINTS = 1000
"""No category may have more: a skeleton is checked pair by pair."""

COMPARED = 200
"""Among more names no similar one is looked for."""


@dataclass(frozen=True)
class Category:
    """A category of the file. Without a skeleton its annotations are no persons.

    `remark` says which mirror pairs were guessed where the file names none.
    """

    id: int
    name: str
    skeleton: Skeleton | None
    place: Place
    remark: str | None = None


def read_category(findings: Findings, place: Place, category_id: int, fields: dict[str, Any]) -> Category:
    """A category with the skeleton it describes; None where it names no keypoints or names them wrongly (then told)."""
    name = fields.get("name")
    name = name if isinstance(name, str) and name else str(category_id)
    fields = {key: value for key, value in fields.items() if value is not None}
    has_names = fields.get("keypoints", []) != []
    names = _keypoint_names(findings, place.at("keypoints"), fields["keypoints"]) if has_names else None
    skeleton = _skeleton(findings, place, name, names, fields) if names is not None else None
    guessed = skeleton is not None and "flip_pairs" not in fields and skeleton not in SKELETONS.values()
    return Category(category_id, name, skeleton, place, _guess_told(name, skeleton) if guessed and skeleton else None)


def _skeleton(findings: Findings, place: Place, name: str, names: tuple[str, ...], fields: dict[str, Any]) -> Skeleton:
    before = findings.counts.total()
    limbs = _limbs(findings, place.at("skeleton"), fields.get("skeleton", []), names)
    sigmas = _sigmas(findings, place.at("sigmas"), fields.get("sigmas", []), names)
    pairs = None
    if "flip_pairs" in fields:
        pairs = _flip_pairs(findings, place.at("flip_pairs"), fields["flip_pairs"], names)
    if findings.counts.total() > before:
        return Skeleton(names, name)  # the persons are read on, to tell of them too
    for known in SKELETONS.values():
        if known.keypoints == names:
            return known
    if pairs is None:
        pairs = naming.guess_mirror_pairs(names)
    return Skeleton(names, name, mirror_pairs=pairs, limbs=limbs, sigmas=sigmas)


def check_order(findings: Findings, place: Place, given: Skeleton, names: Sequence[str]) -> None:
    """A skeleton given beside the file must not have the file's names in another order."""
    if given.keypoints != tuple(names) and set(given.keypoints) == set(names):
        k = next(k for k, (a, b) in enumerate(zip(names, given.keypoints, strict=True)) if a != b)
        expected = f"'{given.keypoints[k]}', as in the skeleton '{given.name}' that was given"
        findings.add("skeleton-order", place.at("keypoints", k), shown(names[k]), expected)


def check_sides(findings: Findings, place: Place, pair: Pair) -> None:
    """Two names that mirror each other say both sides of one thing, or tell of no side."""
    sides = {naming.side(name) for name in pair}
    stems = {naming.canonical(name).replace("left", "right", 1) for name in pair}
    if sides != {None} and (sides != {"left", "right"} or len(stems) > 1):
        findings.add("flip-pair-sides", place, shown(list(pair)), "names that differ in left and right alone")


def _keypoint_names(findings: Findings, place: Place, value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not value:
        findings.add("missing-keypoint-names", place, shown(value), "a list of keypoint names")
        return None
    if len(value) > MOST_KEYPOINTS:
        findings.add("bad-keypoint-names", place, f"{len(value):,} names", f"at most {MOST_KEYPOINTS:,}")
        return None
    seen: set[str] = set()
    for k, name in enumerate(value):
        if not isinstance(name, str) or not name:
            findings.add("bad-keypoint-names", place.at(k), shown(name), "the name of a keypoint")
            return None
        if name in seen:
            findings.add("bad-keypoint-names", place.at(k), f"{shown(name)} again", "distinct names")
            return None
        seen.add(name)
    return tuple(value)


def _limbs(findings: Findings, place: Place, value: Any, names: Sequence[str]) -> tuple[Pair, ...]:
    expected = f"a pair of keypoint numbers, 1 to {len(names)}"
    if not isinstance(value, list):
        findings.add("bad-limb", place, shown(value), "a list of pairs of keypoint numbers")
        return ()
    limbs = []
    zero_based = all(_is_pair_of(int, pair) and 0 <= min(pair) <= max(pair) < len(names) for pair in value)
    for i, pair in enumerate(value):
        if not _is_pair_of(int, pair):
            findings.add("bad-limb", place.at(i), shown(pair), expected)
        elif not 1 <= min(pair) <= max(pair) <= len(names):
            fix = "add 1 to every number: the pairs count from 0" if zero_based else ""
            outside = next(number for number in pair if not 1 <= number <= len(names))
            findings.add("bad-limb", place.at(i), f"{shown(pair)}: there is no keypoint {outside}", expected, fix)
        elif pair[0] == pair[1]:
            findings.add("bad-limb", place.at(i), shown(pair), "two different keypoints")
        else:
            limbs.append((names[pair[0] - 1], names[pair[1] - 1]))
    return tuple(limbs)


def _flip_pairs(findings: Findings, place: Place, value: Any, names: Sequence[str]) -> tuple[Pair, ...]:
    if not isinstance(value, list):
        findings.add("bad-flip-pair", place, shown(value), "a list of pairs of keypoint names")
        return ()
    known = frozenset(names)
    pairs: list[Pair] = []
    partner: dict[str, str] = {}
    for i, pair in enumerate(value):
        wrong = _wrong_pair(pair, names, known, partner)
        if wrong:
            findings.add("bad-flip-pair", place.at(i), *wrong)
            continue
        first, second = pair
        check_sides(findings, place.at(i), (first, second))
        if first not in partner:  # else the same pair again
            pairs.append((first, second))
        partner |= {first: second, second: first}
    for first, second in naming.guess_mirror_pairs(names):
        if first not in partner and second not in partner:
            findings.note(f"pairs of names in no flip pair, such as {first} and {second}", place.pointer)
    return tuple(pairs)


def _wrong_pair(
    pair: Any, names: Sequence[str], known: frozenset[str], partner: dict[str, str]
) -> tuple[str, str] | None:
    """What is found and expected where a flip pair is none, or is not mutual with those before it."""
    if not _is_pair_of(str, pair):
        return shown(pair), "a pair of keypoint names"
    first, second = pair
    for name in pair:
        if name not in known:
            hint = suggestion(name, names) if len(names) <= COMPARED else ""
            return f"the unknown keypoint {shown(name)}{hint}", _listed(names)
    if first == second:
        return shown(pair), "two different keypoints"
    if partner.get(first, second) != second or partner.get(second, first) != first:
        taken = first if partner.get(first, second) != second else second
        return f"{shown(pair)}, and '{taken}' paired with '{partner[taken]}' before", "each keypoint in one pair"
    return None


def _sigmas(findings: Findings, place: Place, value: Any, names: Sequence[str]) -> tuple[float, ...]:
    if value == []:
        return ()
    if not isinstance(value, list) or len(value) != len(names):
        found = f"{len(value)} numbers" if isinstance(value, list) else shown(value)
        findings.add("bad-sigmas", place, found, f"{len(names)} numbers above 0, one a keypoint")
        return ()
    for k, sigma in enumerate(value):
        if isinstance(sigma, bool) or not isinstance(sigma, (int, float)) or not 0 < sigma < 1e9:
            findings.add("bad-sigmas", place.at(k), f"{shown(sigma)} ({names[k]})", "a finite number above 0")
    return tuple(float(sigma) for sigma in value) if findings.counts["bad-sigmas"] == 0 else ()


def _guess_told(name: str, skeleton: Skeleton) -> str:
    pairs = [f"{first} and {second}" for first, second in skeleton.mirror_pairs]
    alone = naming.unpaired(skeleton.keypoints, skeleton.mirror_pairs)
    return (
        f"category '{name}' has no flip_pairs; guessed from the names: {_listed(pairs)}; "
        f"taken to lie on the middle line: {_listed(alone)}"
    )


def _listed(names: Sequence[str]) -> str:
    """The first few of many names, and how many there are."""
    shortened = [*names[:LISTED], f"... ({len(names)} in all)"] if len(names) > LISTED + 1 else names
    return ", ".join(shortened) or "none"


def _is_pair_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) is kind for item in value)
