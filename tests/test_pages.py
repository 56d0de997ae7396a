"""What README and the pages tell people to type exists, with the options shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from posefabric import cli

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))


def shell_lines(page: str, program: str) -> list[list[str]]:
    """The words after the program's name in the lines of a page's shell blocks, comments left out; by torchrun, too."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    started = [line[line.index("-m") + 1 :] if "torchrun" in line[:2] else line for line in lines]
    return [line[1:] for line in started if line[:1] == [program]]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_are_understood(page: str) -> None:
    for words in shell_lines(page, "posefabric"):
        command: Any = typer.main.get_command(cli.build())
        while hasattr(command, "commands") and not words[0].startswith("-"):
            command, words = command.commands[words[0]], words[1:]
        if words != ["--help"]:
            command.make_context("posefabric", list(words))


def test_the_pages_show_commands_at_all() -> None:
    assert sum(len(shell_lines(page, "posefabric")) for page in PAGES) >= 12


@pytest.mark.parametrize("page", PAGES)
def test_the_targets_of_make_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {words[0] for words in shell_lines(page, "make") if words} <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target
