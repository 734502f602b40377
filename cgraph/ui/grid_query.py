"""What the grid of concepts shows, as it stands in the link beside the selection of all pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from cgraph.layer_catalogue import KINDS, ORDERS, Kind, Order

KEYS = ("find", "show", "sort", "falling", "page")
"""Query parameters of the grid."""

PAGE_LENGTH = 24
"""Cards of one page."""

LONGEST_SEARCH = 100

_FALLS_FIRST: dict[Order, bool] = {
    "index": False,
    "name": False,
    "frequency": True,
    "auc": True,
    "parents": True,
}
# Which way an order goes when it is chosen: what people look for comes first.


@dataclass(frozen=True)
class GridQuery:
    """Which concepts of the layer are listed, and in which order.

    Attributes
    ----------
    find : str
        What is searched for; empty for all.
    show : str
        One of `KINDS`.
    sort : str
        One of `ORDERS`.
    falling : bool
        Whether the largest come first.
    page : int
        From 1.
    """

    find: str = ""
    show: Kind = "all"
    sort: Order = "frequency"
    falling: bool = True
    page: int = 1

    def to_query(self) -> dict[str, str]:
        """Return the query parameters that differ from what is shown without any."""
        usual = GridQuery()
        values = {
            "find": self.find,
            "show": self.show,
            "sort": self.sort,
            "falling": {True: "yes", False: "no"}[self.falling],
            "page": str(self.page),
        }
        unsaid = {
            "find": usual.find,
            "show": usual.show,
            "sort": usual.sort,
            "falling": {True: "yes", False: "no"}[_FALLS_FIRST[self.sort]],
            "page": "1",
        }
        return {key: value for key, value in values.items() if value != unsaid[key]}

    def sorted_by(self, order: Order) -> GridQuery:
        """Return the query in another order, from its first page."""
        return replace(self, sort=order, falling=_FALLS_FIRST[order], page=1)

    def turned_to(self, page: int, n_found: int) -> GridQuery:
        """Return the query at a page that exists."""
        n_pages = max(1, -(-n_found // PAGE_LENGTH))
        return replace(self, page=min(max(1, page), n_pages))


def parse(query: Mapping[str, str]) -> tuple[GridQuery, list[str]]:
    """Read the query of the grid, and a sentence for each value that was left out."""
    remarks = []
    found = GridQuery()
    text = " ".join((query.get("find") or "").split())
    if len(text) > LONGEST_SEARCH:
        remarks.append(f"The search was cut to its first {LONGEST_SEARCH} characters.")
        text = text[:LONGEST_SEARCH]
    found = replace(found, find=text)
    if show := query.get("show"):
        if show in KINDS:
            found = replace(found, show=show)
        else:
            remarks.append(_unknown("show", show, KINDS))
    if sort := query.get("sort"):
        if sort in ORDERS:
            found = found.sorted_by(sort)
        else:
            remarks.append(_unknown("sort", sort, ORDERS))
    if falling := query.get("falling"):
        if falling in ("yes", "no"):
            found = replace(found, falling=falling == "yes")
        else:
            remarks.append(_unknown("falling", falling, ("yes", "no")))
    if page := query.get("page"):
        if page.isascii() and page.isdigit() and len(page) <= 6 and int(page):
            found = replace(found, page=int(page))
        else:
            remarks.append(
                f"The link asks for page {page!r}, which is no number from 1; it was left out."
            )
    return found, remarks


def _unknown(key: str, value: str, allowed: tuple[str, ...]) -> str:
    return f"The link says {key} {value!r}, which is none of {', '.join(allowed)}; it was left out."


def read() -> tuple[GridQuery, list[str]]:
    """Return the query in the address, and a sentence for each value that was left out."""
    return parse(st.query_params.to_dict())


def page_query(page: int) -> dict[str, str | None]:
    """Return the query parameter of a page of the grid; the first needs none."""
    return {"page": None if page == 1 else str(page)}


def change(**changes: Any) -> None:
    """Change a part of the query in the address; for the callbacks of widgets."""
    found = read()[0]
    if "sort" in changes:
        found = found.sorted_by(changes.pop("sort"))
    write(replace(found, **changes))


def write(query: GridQuery) -> None:
    """Put a query into the address and leave all else there as it is."""
    now = st.query_params.to_dict()
    new = {**{k: v for k, v in now.items() if k not in KEYS}, **query.to_query()}
    if new != now:
        st.query_params.from_dict(new)
