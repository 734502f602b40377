"""docs/models.md says what is found in models of every family, and nothing older."""

from __future__ import annotations

from model_table import PAGE, parts_of_page, with_parts


def test_the_page_of_models_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    parts = parts_of_page()
    assert with_parts(page, parts) == page, "run `python tests/model_table.py` and look it over"
    assert page.count("\n| ") > len(parts)
