"""The sections of a report, one function each: a run's notes in, HTML out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from posefabric.data import images
from posefabric.draw import plot_curves, svg_text
from posefabric.draw.curves import HEADLINE_METRICS
from posefabric.draw.palette import FAINT, INK, MUTED, PAPER
from posefabric.reporting.markup import Html, disclosure, element, table
from posefabric.reporting.reading import RunNotes
from posefabric.runs import FROM_SCRATCH, RESUME, SKIPPED_IMAGES

SHOWN_NAMES = 200
"""How many file names a list shows."""


def section(title: str, *children: str, lead: str = "", note: str = "") -> Html:
    """A titled section; `lead` explains what one sees, `note` says what is missing."""
    return element(
        "section",
        element("h3", title),
        element("p", lead, class_="lead") if lead else "",
        *children,
        element("p", note, class_="note") if note else "",
    )


def drawing(figure: Figure, prefix: str, label: str) -> Html:
    """A figure as inline SVG whose neutral colours follow the page's light or dark theme."""
    svg = svg_text(figure, prefix)
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (FAINT, "faint"), (PAPER, "paper")):
        svg = svg.replace(colour, f"var(--{variable})")
    return scrolling(Html(svg.replace("<svg ", '<svg aria-hidden="true" ', 1)), label, role="img", class_="drawing")


def scrolling(child: Html, label: str, role: str = "region", class_: str = "") -> Html:
    """A block that scrolls sideways by itself where it is wider than the page, by keyboard too."""
    return element("div", child, class_=f"scrolling {class_}".strip(), role=role, aria_label=label, tabindex=0)


def headline_figures(run: RunNotes) -> Iterator[tuple[str, str]]:
    """Name and value of the few figures that stand for a run."""
    for name in HEADLINE_METRICS:
        if _is_number(run.evaluation.get(name)):
            value = run.evaluation[name]
            yield name, f"{value:.3f}" if name == "AP" else f"{value:.1f} %"
    for stage, name in (("mixture", "of the mixture"), ("inherited", "before its norms were recalibrated")):
        if _is_number(run.evaluation.get(f"{stage}/PCK@0.2")):
            yield f"PCK@0.2 {name}", f"{run.evaluation[f'{stage}/PCK@0.2']:.1f} %"
    for key, name in (("parameters", "Parameters"), ("macs", "MACs")):
        if _is_number(run.evaluation.get(key)):
            yield name, magnitude(run.evaluation[key])
    if run.architecture is not None:
        height, width = run.architecture.input_hw
        yield "Input (height, width)", f"{height}, {width} px"
    if _is_number(run.about.get("seconds")):
        yield "Time", duration(run.about["seconds"])


def headline(run: RunNotes) -> Html:
    tiles = [
        element("div", element("dt", name), element("dd", value), class_="tile")
        for name, value in headline_figures(run)
    ]
    note = "" if run.evaluation else "This run has not been evaluated (no evaluation.json)."
    stages = {key.partition("/")[0] for key in run.evaluation if "/" in key}
    if "mixture" in stages and "tuned" not in stages:
        note = "The derived net still has the weights that its supernet's mixture learned; training comes next."
    if run.about.get(FROM_SCRATCH):
        note = "Searched with partial channels: the derived net has no weights yet, and training starts from scratch."
    boxes = run.evaluation.get("boxes")
    lead = f"Persons were cut out by their {boxes}." if isinstance(boxes, str) else ""
    return section("At a glance", element("dl", *tiles, class_="tiles") if tiles else "", lead=lead, note=note)


def magnitude(value: float) -> str:
    """`1.34 M`, `523 k`: three significant digits and the unit of thousands."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    """`2 h 5 min`, `3 min 20 s`, `12 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def curves(run: RunNotes, prefix: str) -> Html:
    title = "Learning curves"
    if not run.rows:
        return section(title, note="This run holds no metrics.jsonl.")
    lead = "The loss is the distance between predicted and true heatmaps: lower is better."
    rows = run.rows
    if run.film:  # the section on the search has its entropies
        rows = [{key: value for key, value in row.items() if not key.endswith("_entropy")} for row in rows]
    elif any("alpha_entropy" in row for row in rows):
        lead += " Entropy tells how undecided the search still is: it falls as choices are made."
    figure = plot_curves({run.name: rows})
    return section(title, drawing(figure, f"{prefix}-curves", "Loss and metric against the step"), lead=lead)


def keypoints(run: RunNotes) -> Html:
    """PCK of every keypoint, left and right beside each other; nothing where the evaluation has none."""
    values = _keypoint_values(run)
    if not values:
        return Html()
    pairs = run.architecture.skeleton.mirror_pairs if run.architecture else ()
    paired = {name for pair in pairs for name in pair}
    rows = [_bar_row(name, (_bar(values[name], "middle", span=2),)) for name in values if name not in paired]
    for left, right in pairs:
        if left in values or right in values:
            bars = (_bar(values.get(left, -1), "left"), _bar(values.get(right, -1), "right"))
            rows.append(_bar_row(_pair_name(left, right), bars))
    head = element("tr", *(element("th", text, scope="col") for text in ("Keypoint", "Left", "Right")))
    chart = element("table", element("thead", head), element("tbody", *rows), class_="bars")
    lead = "How often, in percent, the keypoint was found close enough to its true place: longer is better."
    return section("Keypoint by keypoint", chart, lead=lead)


def skipped_images(run: RunNotes) -> Html:
    """The damaged images that training went on without; nothing where there were none."""
    names = run.about.get(SKIPPED_IMAGES)
    if not isinstance(names, list) or not names:
        return Html()
    count = f"{len(names)} damaged image{'s' if len(names) > 1 else ''}"
    listed = element("ul", *(element("li", element("code", images.shown(str(name)))) for name in names[:SHOWN_NAMES]))
    lead = (
        "Training went on without them: other persons stood in for those they show. `posefabric data check` says why."
    )
    note = f"The other {len(names) - SHOWN_NAMES} stand in run.json." if len(names) > SHOWN_NAMES else ""
    return section("Skipped images", disclosure(count, listed), lead=lead, note=note)


def _keypoint_values(run: RunNotes) -> dict[str, float]:
    """Keypoint -> percentage, in the skeleton's order."""
    names = run.architecture.skeleton.keypoints if run.architecture is not None else ()
    return {name: run.evaluation[name] for name in names if _is_number(run.evaluation.get(name))}


def _pair_name(left: str, right: str) -> str:
    common = left.removeprefix("left_")
    return common.replace("_", " ") if right == f"right_{common}" else f"{left} / {right}"


def _bar_row(name: str, cells: tuple[Html, ...]) -> Html:
    return element("tr", element("th", name.replace("_", " "), scope="row"), *cells)


def _bar(value: float, side: str, span: int = 1) -> Html:
    if value < 0:
        return element("td", "not labelled", colspan=span, class_="note")
    bar = element("span", class_=f"bar {side}", style=f"width:{min(value, 100):.1f}%")
    return element("td", element("span", bar, class_="track"), element("span", f"{value:.1f}"), colspan=span)


def configuration(run: RunNotes) -> Html:
    """The resolved configuration and the environment, folded away."""
    about = run.about
    config = _flat(about.get("config"))
    shown_elsewhere = ("config", RESUME, SKIPPED_IMAGES)
    surroundings = [
        (key, text) for key, value in about.items() if key not in shown_elsewhere for key, text in _flat(value, key)
    ]
    blocks = [
        disclosure(title, scrolling(table(("Key", "Value"), rows, class_="keys"), title))
        for title, rows in (("Configuration", config), ("Environment", surroundings))
        if rows
    ]
    command = about.get("command")
    shown = " ".join(map(str, command)) if isinstance(command, list) else command
    lines = [element("p", "Command: ", element("code", str(shown)))] if shown else []
    lines += [element("p", "Resuming it: ", sentence) for sentence in _exactness(about.get(RESUME))]
    note = "" if config else "run.json holds no configuration."
    return section("How it was made", *lines, *blocks, note=note)


def _exactness(noted: Any) -> list[str]:
    """What a resume of the run is worth, in a sentence."""
    if not isinstance(noted, Mapping):
        return []
    ground = f"{noted.get('device')}, {noted.get('threads')} threads, torch {noted.get('torch')}"
    if noted.get("exact"):
        return [f"exact to the last bit on what it ran on ({ground})."]
    return [f"equal to about 1e-5 ({ground}); it was resumed elsewhere, or on a GPU without deterministic=true."]


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested data as rows of dotted key and JSON text."""
    if isinstance(value, Mapping):
        steps = ((f"{path}.{key}" if path else str(key), child) for key, child in value.items())
        return [row for key, child in steps for row in _flat(child, key)]
    if value is None and not path:
        return []
    return [(path, value if isinstance(value, str) else json.dumps(value))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
