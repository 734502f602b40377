"""What every page starts with: its title, the links between pages and the choice of a study."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cgraph.errors import CgraphError
from cgraph.study import Study
from cgraph.ui import resources, state, words
from cgraph.ui.components import static_text
from cgraph.ui.page_list import PAGES
from cgraph.ui.resources import StudyEntry, StudyList

_ABOUT_A_SELECTION = ("Trace", "Graph", "Evaluation", "Counterfactual", "Concepts")

_STUDY_KEY = "frame.study"


@dataclass(frozen=True)
class OpenStudy:
    """The study on show.

    Attributes
    ----------
    entry : StudyEntry
        Where it was found.
    study : Study
    selection : Selection
        What the link asks for, as far as the study has it.
    others : tuple of StudyEntry
        The other studies that were found.
    """

    entry: StudyEntry
    study: Study
    selection: state.Selection
    others: tuple[StudyEntry, ...] = ()


def open_page(name: str) -> OpenStudy | None:
    """Draw the head of a page and open the study that is looked at.

    Parameters
    ----------
    name : str
        Name of the page, as in `PAGES`.

    Returns
    -------
    OpenStudy or None
        ``None`` when there is none to show; the page then already says why and what to do.
    """
    _dress(name)
    found = resources.studies(resources.search_folders())
    _head(name, found if len(found.entries) > 1 else None)
    selection, remarks = state.read()
    opened = _open(found, selection, remarks)
    if opened is not None and remarks:
        st.warning("\n\n".join(map(words.plain, remarks)))
    return opened


def open_head(name: str) -> None:
    """Draw the head of a page that is about no study.

    Parameters
    ----------
    name : str
        Name of the page, as in `PAGES`.
    """
    _dress(name)
    _head(name, None)


def _dress(name: str) -> None:
    with as_file(files("cgraph.ui") / "static" / "icon.svg") as icon:
        st.set_page_config(page_title=f"{name} · cgraph", page_icon=str(icon), layout="wide")
    st.html(f"<style>{static_text('page.css')}{static_text('term.css')}</style>")


def _head(name: str, studies: StudyList | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="cg-head"):
        st.html(f"<h1 class='cg-brand'><b>cgraph</b> <span>{name}</span></h1>", width="stretch")
        _links(name)
        if studies is not None:
            _study_box(studies)


def onward_links(selection: state.Selection, here: str = "Trace") -> None:
    """Draw links to the other pages that are about a selection, which they keep.

    Parameters
    ----------
    selection : Selection
        What is on show.
    here : str
        The page that they stand on.
    """
    for script, label in _existing_pages():
        if label in _ABOUT_A_SELECTION and label != here:
            st.page_link(script, label=f"Open in {label}", query_params=selection.to_query())


def _existing_pages() -> list[tuple[str, str]]:
    context = get_script_run_ctx()
    folder = Path(context.main_script_path).parent if context else Path()
    return [(script, label) for script, label in PAGES if (folder / script).is_file()]


def _links(name: str) -> None:
    pages = _existing_pages()
    if len(pages) < 2:
        return
    query = state.read()[0].to_query()
    for script, label in pages:
        st.page_link(script, label=label, query_params=query, disabled=label == name)


def _study_box(found: StudyList) -> None:
    names = [entry.name for entry in found.entries]
    asked = state.read()[0].study
    # The link decides, also after the back button: the box only shows what it says.
    st.session_state[_STUDY_KEY] = asked if asked in names else names[0]
    where = ", ".join(f"`{folder}`" for folder in found.searched)
    note = f"Looked for in {where}, in this order."
    if found.hidden:
        passed = ", ".join(f"`{folder}`" for folder in found.hidden)
        note += f" The first of a name counts, so these are not listed: {passed}."
    st.markdown("Study", help=note, width="content")
    st.selectbox(
        "Study",
        names,
        key=_STUDY_KEY,
        on_change=_study_chosen,
        label_visibility="collapsed",
        width=220,
    )


def _study_chosen() -> None:
    # What else the link says, such as the page of a list, is about the study before.
    st.query_params.from_dict(state.Selection(study=st.session_state[_STUDY_KEY]).to_query())


def _open(found: StudyList, selection: state.Selection, remarks: list[str]) -> OpenStudy | None:
    """Open the study of the link, or the first one that can be opened."""
    asked = found.find(selection.study)
    if asked is None and any(entry.name == selection.study for entry in found.unfinished):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(words.plain(f"The study {selection.study!r} is not finished yet."))
            _build_link("See how far it is")
        selection = state.Selection()
    if selection.study is not None and asked is None and found.entries:
        remarks.append(
            f"No study is called {selection.study!r}. There is: "
            f"{', '.join(entry.name for entry in found.entries)}."
        )
        selection = state.Selection()
    for entry in [asked] if asked else found.entries:
        try:
            study = resources.open_study(entry)
        except CgraphError as error:
            st.error(words.plain(f"The study {entry.name!r} cannot be shown. {error}"))
            continue
        checked, more = state.check(selection, study)
        remarks += more
        if study.naming.problem:
            remarks.append(f"Names given by hand are not shown. {study.naming.problem}")
        _passed_over(found)
        others = tuple(other for other in found.entries if other is not entry)
        return OpenStudy(entry, study, checked, others)
    for problem in found.problems:
        st.error(words.plain(problem))
    if asked is None:
        _no_study(found)
    return None


def _passed_over(found: StudyList) -> None:
    """Mention folders that look like studies and are none, without standing in the way."""
    if found.problems:
        folders = words.count(len(found.problems), "study folder")
        with st.expander(f"{folders} could not be read"):
            for problem in found.problems:
                st.markdown(words.plain(problem))


def _no_study(found: StudyList) -> None:
    folders = "\n".join(f"- `{folder.absolute()}`" for folder in found.searched)
    with st.container(key="cg-empty", width=720):
        st.subheader("There is no study to show yet")
        st.markdown(
            "A study is one folder with a vision transformer's concepts, how they lead to one "
            "another, and the images they were learned on. Build one from a model and a folder of "
            "images, on a page of this app or in a terminal:"
        )
        if found.unfinished:
            names = ", ".join(entry.name for entry in found.unfinished)
            st.info(words.plain(f"Not finished yet: {names}."))
        _build_link("Build a study")
        st.code(
            "cgraph build --model path/to/model --images path/to/images --out studies/first",
            language="bash",
        )
        st.markdown(
            f"Then reload this page. Studies are looked for in these folders, in this order:\n\n"
            f"{folders}\n\n"
            f"To add folders, set the environment variable `{resources.STUDIES_VARIABLE}` "
            "before the app starts."
        )


def _build_link(label: str) -> None:
    for script, page in _existing_pages():
        if page == "Build":
            st.page_link(script, label=label)
