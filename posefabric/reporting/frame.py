"""The frame of every page: one HTML file with its style inside, light or dark as the reader's device has it."""

from __future__ import annotations

from importlib.resources import files

from posefabric.reporting.markup import Html, element


def framed(title: str, *content: str, styles: tuple[str, ...] = ("style.css",)) -> str:
    """A whole page as text; `styles` are style sheets of this package, in order."""
    css = "".join(files("posefabric.reporting").joinpath(name).read_text(encoding="utf-8") for name in styles)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · posefabric"),
        element("style", Html(css)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', element('main', *content)), lang='en')}\n"
