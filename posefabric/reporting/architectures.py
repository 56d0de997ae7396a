"""The section that shows the net: the fabrics that a search kept with the numbers behind them, or hand-made heads."""

from __future__ import annotations

from collections.abc import Mapping

from posefabric.architecture import Architecture
from posefabric.draw import draw_fabrics, draw_handmade
from posefabric.draw.fabrics import fabric_names, kept_cells, operation_colours_of, purpose
from posefabric.genotype import CellChoice
from posefabric.handmade import HEADS, HandMade
from posefabric.reporting.markup import Html, disclosure, element, join, table
from posefabric.reporting.reading import RunNotes
from posefabric.reporting.sections import drawing, scrolling, section
from posefabric.space import SearchSpace

SEARCHED = "What was searched"

_WHAT_ONE_SEES = (
    "A fabric is a small grid of cells that turns image features into the map of one body part; columns "
    "are layers, rows are resolutions. Alpha weighs the operations inside a cell, beta weighs the maps that "
    "flow into it. Weights are relative to an even mixture: 1 is an even share, 0 is nothing."
)


def searched(run: RunNotes, prefix: str) -> Html:
    """The fabrics beside the body and a table for each of them."""
    architecture = run.architecture
    if architecture is None:
        return section(SEARCHED, note="This run holds no architecture.json.")
    if isinstance(architecture, HandMade):
        return _handmade(architecture, prefix)
    label = f"Body figure and the fabrics of the parts {', '.join(architecture.partition)}"
    picture = drawing(draw_fabrics(architecture), f"{prefix}-fabrics", label)
    tables = [_fabric(architecture, name) for name in fabric_names(architecture)]
    return section(SEARCHED, picture, *tables, lead=_WHAT_ONE_SEES)


def _handmade(described: HandMade, prefix: str) -> Html:
    lead = (
        f"Nothing: every part has a head made by hand, {described.head.replace('_', ' ')} as in "
        f"{HEADS[described.head].source}, at the widths below. A search has to beat such nets at the same cost."
    )
    label = f"Body figure and the widths of the heads of {', '.join(described.partition)}"
    return section(SEARCHED, drawing(draw_handmade(described), f"{prefix}-heads", label), lead=lead)


def _fabric(architecture: Architecture, name: str) -> Html:
    """The kept cells with their multipliers; operations once where all cells share them."""
    space, genotype = architecture.fabrics()[name]
    colours = operation_colours_of(architecture)
    sites = [site for site in space.sites() if site.name in genotype.cells]
    choices = [genotype.cells[site.name] for site in sites]
    operations = [_operations(space, choice, colours) for choice in choices]
    shared = len(set(operations)) == 1
    rows = [
        (
            f"layer {site.layer}, 1/{site.stride}",
            join(*(_weight(slot, weight) for slot, weight in choice.inputs.items())),
            *([] if shared else [chips]),
        )
        for site, choice, chips in zip(sites, choices, operations, strict=True)
    ]
    head = ("Cell", "Inputs (beta)", *([] if shared else [_OPERATIONS]))
    title = element("strong", name.replace("_", " "))
    return disclosure(
        join(title, element("span", kept_cells(space, genotype), class_="aside")),
        element("p", purpose(architecture, name), class_="note"),
        join(element("p", f"{_OPERATIONS}, the same in every cell:"), operations[0]) if shared else "",
        scrolling(table(head, rows), f"Cells of {name}"),
    )


_OPERATIONS = "Operations (alpha)"


def _operations(space: SearchSpace, choice: CellChoice, colours: Mapping[str, str]) -> Html:
    lines = []
    for (start, end), operations in zip(space.edges, choice.edges, strict=True):
        edge = element("span", f"{start} → {end}", class_="edge") if len(space.edges) > 1 else Html()
        chips = [_weight(name, weight, colours[name]) for name, weight in operations.items()]
        lines.append(element("div", edge, *(chips or [Html("not kept")])))
    return join(*lines)


def _weight(name: str, weight: float, colour: str | None = None) -> Html:
    swatch = element("i", style=f"background:{colour}") if colour else Html()
    return element("span", swatch, f"{name} ", element("b", f"{weight:.2f}"), class_="chip")
