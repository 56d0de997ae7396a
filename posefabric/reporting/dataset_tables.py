"""The tables of a dataset's page: problems, counts, visibility, left and right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from posefabric.data.annotations.problems import FIXES, Findings
from posefabric.data.guesses.placement import Places
from posefabric.data.guesses.sides import PairOrder, Suspect, pair_orders
from posefabric.data.records import GroundTruth, PersonRecord
from posefabric.reporting.dataset_pictures import SHOWN_SUSPECTS, Album, exchanged, pair_name, percent
from posefabric.reporting.markup import Html, disclosure, element, join, table
from posefabric.reporting.sections import scrolling, section
from posefabric.skeletons import Skeleton

_CHECK = element("code", "posefabric data check")

FIRST_PROBLEMS, FIRST_FAILURES, FIRST_SUSPECTS = 20, 10, 40


def problems(findings: Sequence[Findings] | None) -> Html:
    """What `data check` found: how often each problem occurs, and the first of them."""
    if findings is None:
        return section("Problems", note=join("The dataset was not checked; ", _CHECK, " lists its problems."))
    counts: Counter[str] = sum((found.counts for found in findings), Counter())
    notes = [f"{found.file}: {line}" for found in findings for line in found.noted()]
    noted = (
        disclosure(
            "1 note" if len(notes) == 1 else f"{len(notes)} notes",
            element("ul", *(element("li", line) for line in notes)),
        )
        if notes
        else ""
    )
    if not counts:
        return section("Problems", element("p", "None was found.", class_="good"), noted)
    rows = [(code, f"{number:,}", FIXES[code]) for code, number in counts.most_common()]
    counted = table(("Problem", "How often", "What to do"), rows, class_="codes")
    every = [problem for found in findings for problem in found.problems]
    first = [(p.code, p.file, p.line(with_fix=False)) for p in every[:FIRST_PROBLEMS]]
    listed = table(("Problem", "File", "Where, found and expected"), first, class_="codes")
    return section(
        "Problems",
        scrolling(counted, "Problems by kind"),
        disclosure(f"The first {len(first)} of {counts.total():,}", scrolling(listed, "First problems")),
        noted,
        lead=join("What ", _CHECK, " found."),
    )


def facts(truth: GroundTruth, num_people: int, num_measured: int, album: Album) -> Html:
    """Counts of images and persons, and which photographs could not be read.

    `num_measured` of the `num_people` persons are what figures and tables rest on.
    """
    per_image = Counter(person.image_id for person in truth.persons)
    unlabelled = sum(not person.visibility.any() and not person.iscrowd for person in truth.persons)
    counts = {
        "Images": len(truth.image_ids),
        "Images without anybody": sum(image_id not in per_image for image_id in truth.image_ids),
        "Persons with labels": num_people,
        "Persons without labels": unlabelled,
        "Crowds": sum(person.iscrowd for person in truth.persons),
        "Keypoints": truth.skeleton.num_keypoints,
    }
    tiles = [
        element("div", element("dt", name), element("dd", f"{number:,}"), class_="tile")
        for name, number in counts.items()
    ]
    failures = list(album.failures.values())
    unread = [element("li", text) for text in failures[:FIRST_FAILURES]]
    more = [element("li", f"and {len(failures) - FIRST_FAILURES} more")] if len(failures) > FIRST_FAILURES else []
    said = f"{len(failures)} photographs that this page wanted to show could not be read:"
    block = element("div", element("p", said), element("ul", *unread, *more), class_="bad") if failures else Html()
    lead = "Only persons with labels who are no crowd are learned from; the others count where a metric says so."
    note = "" if num_measured == num_people else f"Figures rest on {num_measured:,} of them, taken evenly."
    return section("At a glance", element("dl", *tiles, class_="tiles"), block, lead=lead, note=note)


def visibility(skeleton: Skeleton, persons: Sequence[PersonRecord]) -> Html:
    """How often each keypoint is labelled visible, labelled hidden, and not labelled."""
    if not persons:
        return section("Visibility", note="Nobody is labelled.")
    values = np.stack([person.visibility for person in persons])
    shares = np.stack([(values == value).mean(axis=0) for value in (2, 1, 0)], axis=1)  # K 3
    rows = [
        (name.replace("_", " "), _stack(share), *(percent(part) for part in share))
        for name, share in zip(skeleton.keypoints, shares, strict=True)
    ]
    head = ("Keypoint", "", *(_keyed(mark, text) for mark, text in zip(_MARKS, _WORDS, strict=True)))
    lead = (
        "Of every keypoint: the share of persons in whom it is labelled and visible (v = 2), labelled but hidden "
        "(v = 1), and not labelled (v = 0)."
    )
    note = "Nothing is labelled as hidden: whoever wrote this dataset does not tell." if not shares[:, 1].any() else ""
    return section("Visibility", scrolling(table(head, rows, class_="labelled"), "Visibility"), lead=lead, note=note)


_MARKS, _WORDS = ("seen", "hidden", "absent"), ("visible", "hidden", "not labelled")


def _keyed(mark: str, text: str) -> Html:
    return join(element("i", class_=f"mark {mark}"), text)


def _stack(shares: np.ndarray) -> Html:
    parts = [
        element("span", class_=mark, style=f"width:{100 * share:.2f}%")
        for mark, share in zip(_MARKS, shares, strict=True)
        if share > 0
    ]
    return element("span", *parts, class_="split")


def left_and_right(
    skeleton: Skeleton, persons: Sequence[PersonRecord], places: Places, suspected: tuple[list[Suspect], Html]
) -> Html:
    """Mirror pairs in the box and on the image, and persons who may have them exchanged."""
    if not skeleton.mirror_pairs:
        return section("Left and right", note="The skeleton has no mirror pairs: flipping exchanges nothing.")
    orders = pair_orders(skeleton, places)
    head = ("Pair", "Left is left of right", "Share", "Left: mean x, y", "Right: mean x, y", "Persons")
    rows = [_order_row(order) for order in orders]
    found, pictures = suspected
    lead = (
        "Someone who faces the camera has the left side on the right of the image. Each bar tells how often the left "
        "keypoint is further left on the image than the right one: near 0 % if all face the camera, near 100 % if all "
        "face away or left and right are exchanged. All pairs of a body should show about the same share. Mean places "
        "are relative to the box: its centre is 0, 0, its longer side 1, y grows downwards."
    )
    return section(
        "Left and right",
        scrolling(table(head, rows, class_="labelled"), "Mirror pairs"),
        element("h4", "Left and right exchanged?", class_="sentence"),
        _suspects(found, persons),
        pictures,
        lead=lead,
    )


def _order_row(order: PairOrder) -> tuple[str, ...]:
    name = pair_name(order.left)
    if order.left_first is None or order.left_xy is None or order.right_xy is None:
        return (name, "nobody has both", "", "", "", "0")
    bar = element(
        "span", element("span", class_="seen", style=f"width:{100 * order.left_first:.1f}%"), class_="split halved"
    )
    places = (f"{x:+.2f}, {y:+.2f}" for x, y in (order.left_xy, order.right_xy))
    return (name, bar, percent(order.left_first), *places, f"{order.num_persons:,}")


def _suspects(found: Sequence[Suspect], persons: Sequence[PersonRecord]) -> Html:
    if not found:
        return element("p", "No person contradicts the others, or there are too few to tell.", class_="note")
    who = "1 person fits" if len(found) == 1 else f"{len(found):,} persons fit"
    text = (
        f"{who} the others much better with left and right of some pairs exchanged. That is a suspicion, not a proof: "
        "unusual poses look so too. Someone with all pairs exchanged is not found here."
    )
    items = [
        element("li", f"person {persons[suspect.row].annotation_id}: {exchanged(suspect)}")
        for suspect in found[:FIRST_SUSPECTS]
    ]
    some = f"{len(items)} of them" if len(found) > len(items) else "All of them"
    listed = disclosure(f"{some} by annotation id, the worst first", element("ul", *items, class_="columns"))
    return join(element("p", text), listed if len(found) > SHOWN_SUSPECTS else "")
