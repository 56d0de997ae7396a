"""HTML that is escaped by construction: plain text is escaped wherever it enters an element."""

from __future__ import annotations

import html
from collections.abc import Sequence


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


_VOID = ("img", "meta", "br")


def element(tag: str, *children: str, **attributes: str | int | None) -> Html:
    """An element; attributes lose a trailing underscore (`class_`), None leaves one out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{join(*children)}</{tag}>")


def join(*children: str) -> Html:
    """The children after one another; those that are not `Html` are escaped."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], **attributes: str) -> Html:
    """A table whose first column names its rows."""
    return element(
        "table",
        element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))),
        element(
            "tbody",
            *(
                element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
                for row in rows
            ),
        ),
        **attributes,
    )


def disclosure(summary: str, *children: str, opened: bool = False) -> Html:
    """A part of the page that opens on click or Enter."""
    return element("details", element("summary", summary), *children, open="" if opened else None)
