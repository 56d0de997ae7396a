"""The pages for people: every page is linked from the first one, and keys they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from posefabric.settings import FabricSettings, SearchSettings, TrainSettings

DOCS = Path(__file__).parents[1] / "docs"
SECTIONS = {"search": SearchSettings, "train": TrainSettings, "model.fabric": FabricSettings}


def test_the_first_page_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", (DOCS / "index.md").read_text()))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", ["search.md", "experiments.md", "tabular.md"])
def test_keys_that_a_page_names_exist(page: str) -> None:
    text = (DOCS / page).read_text()
    for section, settings in SECTIONS.items():
        named = set(re.findall(rf"\b{re.escape(section)}\.([a-z_]+)\b", text)) - {"md", "json", "jsonl"}
        assert named <= settings.model_fields.keys(), (page, section)


@pytest.mark.parametrize("settings", [SearchSettings, FabricSettings])
def test_what_a_search_can_be_told_is_on_its_page(settings: type[SearchSettings | FabricSettings]) -> None:
    text = (DOCS / "search.md").read_text()
    own = settings.model_fields.keys() - TrainSettings.model_fields.keys()
    assert [key for key in own if not re.search(rf"\b{key}\b", text)] == []
