"""The section that shows what goes wrong: errors keypoint by keypoint, what they cost, curves, worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posefabric.draw.metrics import plot_metrics
from posefabric.draw.palette import ERROR_COLOURS
from posefabric.evaluation.diagnosis import MEASURES, Case, Diagnosis, KeypointDiagnosis
from posefabric.evaluation.errors import KINDS
from posefabric.reporting.markup import Html, disclosure, element, join, table
from posefabric.reporting.reading import RunNotes
from posefabric.reporting.sections import drawing, scrolling, section

_WHAT_ONE_SEES = (
    "A keypoint is good where another person labelling the photograph might have put it. Jitter is near, but not near "
    "enough; an inversion is on the other side, left for right; a swap is on somebody else; a miss is near none of "
    "these."
)

MOST_CONFUSIONS = 12

_EFFECTS = {
    "jitter": "jitter",
    "inversion": "inversions",
    "swap": "swaps",
    "miss": "misses",
    "keypoints": "all four",
    "scores": "wrong ranking",
    "background": "poses of nobody",
    "missed": "missed persons",
}


def diagnosis(run: RunNotes, prefix: str) -> Html:
    """Nothing where the run holds no diagnosis or no keypoint was judged."""
    found = run.diagnosis
    if found is None or not any(sum(keypoint.counts.values()) for keypoint in found.keypoints.values()):
        return Html()
    pck = (found.pck.name, found.pck.thresholds, found.pck.values) if found.pck else None
    names = "Precision against recall" + (f", and {found.pck.name} against its threshold" if found.pck else "")
    return section(
        "What goes wrong",
        _keypoints(found.keypoints),
        element("h4", "What each error costs", class_="sentence"),
        _effects(found.effects),
        element("p", _poses(found), class_="note"),
        drawing(plot_metrics(found.precision, pck), f"{prefix}-metrics", names),
        _confusions(found),
        disclosure(f"The {len(found.worst)} persons of the lowest OKS", _worst(found.worst)),
        lead=_WHAT_ONE_SEES,
    )


def _keypoints(keypoints: Mapping[str, KeypointDiagnosis]) -> Html:
    """One row a keypoint: the shares of the kinds as a bar and in percent, and the mean similarity."""
    kinds = [join(_swatch(kind), kind) for kind in KINDS]
    total = {kind: sum(keypoint.counts[kind] for keypoint in keypoints.values()) for kind in KINDS}
    rows = [
        _shares(name.replace("_", " "), keypoint.counts, keypoint.similarity) for name, keypoint in keypoints.items()
    ]
    rows.append(_shares("all", total, None))
    head = ("Keypoint", "Share of each kind", *kinds, "Similarity")
    return scrolling(table(head, rows, class_="shares"), "Kinds of error of every keypoint, in percent")


def _shares(name: str, counts: Mapping[str, int], similarity: float | None) -> tuple[str, ...]:
    judged = sum(counts.values())
    if not judged:
        return name, element("span", "not labelled", class_="note"), *[""] * len(KINDS), ""
    percentages = {kind: 100 * counts[kind] / judged for kind in KINDS}
    segments = (
        element("i", style=f"width:{percentage:.2f}%;background:{ERROR_COLOURS[kind]}")
        for kind, percentage in percentages.items()
        if percentage
    )
    words = [f"{percentage:.1f}" if percentage else "0" for percentage in percentages.values()]
    mean = "" if similarity is None else f"{similarity:.3f}"
    return name, element("span", *segments, class_="stack"), *words, mean


def _effects(effects: Mapping[str, Mapping[str, float]]) -> Html:
    """AP as found and without each class of error, with the gain as a bar."""
    before = effects["as found"]
    largest = max(effects[name]["AP"] - before["AP"] for name in _EFFECTS)
    rows = [("as found", *(f"{before[key]:.3f}" for key in MEASURES), "")]
    for name, words in _EFFECTS.items():
        gain = effects[name]["AP"] - before["AP"]
        share = 100 * max(gain, 0) / largest if largest > 0 else 0
        bar = element("span", class_="bar gain", style=f"width:{share:.1f}%")
        shown = join(element("span", bar, class_="track"), element("span", f"{gain:+.3f}"))
        rows.append((f"without {words}", *(f"{effects[name][key]:.3f}" for key in MEASURES), shown))
    return scrolling(table(("", *MEASURES, "Gain in AP"), rows, class_="effects"), "AP without each class of error")


def _poses(found: Diagnosis) -> str:
    poses = found.poses
    return (
        f"{poses['persons']} poses are of labelled persons, {poses['background']} of nobody or of a person that has a "
        f"better one, {poses['ignored']} do not count; {poses['missed']} labelled persons have no pose. A repaired "
        "keypoint is put where its error just ends, so that AP without all four is below 1."
    )


def _confusions(found: Diagnosis) -> Html:
    """The most frequent confusions of a keypoint with another one of its person; nothing where there are none."""
    pairs = [(n, name, other) for name, row in found.confusions.items() for other, n in row.items()]
    rows = [
        (name.replace("_", " "), other.replace("_", " "), f"{n}", f"{100 * n / _judged(found, name):.1f} %")
        for n, name, other in sorted(pairs, key=lambda pair: -pair[0])[:MOST_CONFUSIONS]
    ]
    head = ("Keypoint", "Stood on", "Times", "Of its labels")
    shown = scrolling(table(head, rows), "Keypoints that stood on another one of their person")
    return disclosure("Which keypoints are taken for each other", shown) if rows else Html()


def _judged(found: Diagnosis, name: str) -> int:
    return max(sum(found.keypoints[name].counts.values()), 1)


def _worst(cases: Sequence[Case]) -> Html:
    rows = [
        (
            str(case.annotation_id),
            str(case.image_id),
            f"{case.oks:.3f}" if case.found else "no pose",
            *(str(case.counts[kind]) if case.found else "" for kind in KINDS),
        )
        for case in cases
    ]
    return scrolling(table(("Annotation", "Image", "OKS", *KINDS), rows), "Persons of the lowest OKS")


def _swatch(kind: str) -> Html:
    return element("i", class_="swatch", style=f"background:{ERROR_COLOURS[kind]}")
