"""README.md says what the benchmarks found, and nothing in it waits to be filled in."""

from __future__ import annotations

import re

import pytest

from benchmarks import readme_tables
from tests.e2e.commands import REPOSITORY

README = (REPOSITORY / "README.md").read_text("utf-8")


def test_its_tables_are_those_of_the_recorded_results() -> None:
    assert readme_tables.filled(README) == README, "run `python -m benchmarks.readme_tables`"


def test_nothing_waits_to_be_filled_in() -> None:
    assert re.findall(r"^[A-Z]{5,}$", README, re.MULTILINE) == []


def test_a_missing_marker_is_told() -> None:
    with pytest.raises(SystemExit, match="speed"):
        readme_tables.filled(README.replace("<!-- speed -->", ""))


def test_every_relative_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
