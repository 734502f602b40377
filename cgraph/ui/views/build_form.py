"""The form of a new study: model, images, name and settings, and what the build will take."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from cgraph.build_estimate import Estimate, rough_estimate, size, time_span
from cgraph.build_job import start
from cgraph.config import METHODS, PRESETS
from cgraph.errors import CgraphError, ModelError
from cgraph.job_status import JobStatus
from cgraph.model_facts import ModelFacts, model_facts
from cgraph.ui import build_choices, resources, words
from cgraph.ui.build_choices import MOST_UPLOAD_MB, ImageLook
from cgraph.ui.resources import StudyList
from cgraph.ui.views import build_jobs

_MODEL, _IMAGES, _NAME, _SOURCE = "build.model", "build.images", "build.name", "build.source"
_PRESET, _UPLOAD, _CHECKED = "build.preset", "build.upload", "build.checked"
_BY_PATH, _BY_UPLOAD = "Folder, file or Hub id", "Upload a zip"
_MOST_MODELS = 4

PRESET_WORDS = {
    "default": "An autoencoder with few active concepts; its concepts can be predicted well.",
    "paper": "As in the paper: K-SVD, four concepts for each number of the token, signed, μ = 5.",
}
METHOD_WORDS = {
    "topk-sae": "autoencoder, a fixed number of active concepts",
    "batch-topk-sae": "autoencoder, a fixed number on average",
    "relu-sae": "autoencoder, any number",
    "ksvd": "K-SVD with orthogonal matching pursuit",
}


def show(found: StudyList, jobs: list[JobStatus]) -> None:
    """Draw the form.

    Parameters
    ----------
    found : StudyList
    jobs : list of JobStatus
    """
    root = build_choices.new_studies_folder(found.searched)
    st.html("<h3 class='cg-section'>A new study</h3>")
    left, right = st.columns([3, 2], gap="large")
    with left, st.container(key="cg-build-form"):
        model = _model_choice(found, jobs)
        images, uploaded = _image_choice(root)
        name = _name_choice(root)
        values = _settings()
    with right, st.container(key="cg-build-panel", border=True):
        _before_it_starts(found, root, model, images, uploaded, name, values)


# ---- what is chosen


def _model_choice(found: StudyList, jobs: list[JobStatus]) -> str:
    text = st.text_input(
        "Model",
        key=_MODEL,
        placeholder="path/to/model or facebook/deit-tiny-patch16-224",
        help="The folder of a vision transformer as Hugging Face transformers saves it, or its id "
        "on the Hub, from which it is then downloaded. Only safetensors are read, and no code of "
        "the model is run.",
    )
    at_hand = build_choices.models_at_hand(found, jobs)[:_MOST_MODELS]
    if at_hand:
        with st.container(
            horizontal=True, vertical_alignment="center", gap="small", key="cg-at-hand"
        ):
            st.html("<span class='cg-quiet'>At hand:</span>", width="content")
            for called, place in at_hand:
                st.button(
                    words.plain(called),
                    key=f"build.take.{place}",
                    on_click=_take_model,
                    args=(place,),
                    help=words.plain(place),
                )
    return build_choices.place_of(text or "")


def _take_model(place: str) -> None:
    st.session_state[_MODEL] = place


def _image_choice(root: Path) -> tuple[str, Any]:
    source = st.segmented_control(
        "Images", (_BY_PATH, _BY_UPLOAD), default=_BY_PATH, key=_SOURCE, required=True
    )
    if source == _BY_UPLOAD:
        file = st.file_uploader(
            "A zip of images",
            type=["zip"],
            key=_UPLOAD,
            max_upload_size=MOST_UPLOAD_MB,
            help="Folders within the zip become what is known of the images.",
        )
        st.html(
            f"<p class='cg-quiet'>For small sets: up to {MOST_UPLOAD_MB} MB. When you check the "
            "build the zip is stored in "
            f"<code>{escape(str(root / build_choices.UPLOADS))}</code> on the machine that runs "
            "this app, and goes nowhere else. It stays there until you delete it: the study keeps "
            "thumbnails, and the Counterfactual page reads the pictures themselves.</p>"
        )
        return "", file
    text = st.text_input(
        "Where the images are",
        key=_IMAGES,
        placeholder="path/to/photos",
        help="On the machine that runs this app: a folder of images, in sub-folders or not; a "
        "zip file of images; a Parquet file or a folder of them, as Hugging Face datasets write "
        "it; a list (CSV, TSV, JSON) of paths or addresses. Or a data set of the Hub, "
        "hub:owner/name.",
    )
    return build_choices.place_of(text or ""), None


def _name_choice(root: Path) -> str:
    name = st.text_input(
        "Name of the study", key=_NAME, placeholder="photos", max_chars=64,
        help="Letters, digits and hyphens. It becomes the study's folder and stands in links.",
    )  # fmt: skip
    st.html(f"<p class='cg-quiet'>It becomes a folder in <code>{escape(str(root))}</code>.</p>")
    return name or ""


def _settings() -> dict[str, Any]:
    preset = st.segmented_control(
        "Preset", list(PRESETS), default="default", key=_PRESET, required=True
    )
    preset = preset or "default"
    st.html(f"<p class='cg-quiet'>{escape(PRESET_WORDS.get(preset, ''))}</p>")
    base = PRESETS[preset].dictionary
    one, two = st.columns(2)
    with one:
        max_images = st.number_input(
            "Most images", min_value=1, value=None, step=100, placeholder="all of them",
            key="build.max_images",
            help="A seeded sample over the whole set. A few thousand images make a first study; "
            "each concept needs some hundred images that have it.",
        )  # fmt: skip
    with two:
        n_atoms = st.number_input(
            "Concepts of each layer", min_value=2, value=base.n_atoms, step=16,
            placeholder="4 × width of the model", key=f"build.n_atoms.{preset}",
            help="More concepts are finer and rarer, and need more images.",
        )  # fmt: skip
    with st.expander("More settings"):
        one, two = st.columns(2)
        with one:
            method = st.selectbox(
                "Method", METHODS, index=METHODS.index(base.method), key=f"build.method.{preset}",
                format_func=lambda m: f"{m}: {METHOD_WORDS[m]}" if m in METHOD_WORDS else m,
                help="How the dictionary of each layer is learned.",
            )  # fmt: skip
            max_nnz = st.number_input(
                "Most active concepts of a token", min_value=1, value=base.max_nnz,
                key=f"build.max_nnz.{preset}",
                help="How many concepts may stand for one image at one layer.",
            )  # fmt: skip
        with two:
            seed = st.number_input(
                "Seed", min_value=0, value=0, key="build.seed",
                help="Of every random step: the same seed gives the same study, byte for byte.",
            )  # fmt: skip
            workers = st.number_input(
                "Workers", min_value=1, max_value=max(64, build_choices.cores()),
                value=build_choices.cores(), key="build.workers",
                help=f"Processes that share the work; this machine has {build_choices.cores()} "
                "cores. More need more memory. The result is the same for any number.",
            )  # fmt: skip
    return {
        "preset": preset, "max_images": max_images, "n_atoms": n_atoms, "method": method,
        "max_nnz": max_nnz, "seed": seed, "workers": int(workers),
    }  # fmt: skip


# ---- what is known before it starts


@st.cache_data(ttl=60, max_entries=16, show_spinner="Listing the images …")
def _look(place: str) -> ImageLook | str:
    """Return a first look at images, or why there is none."""
    try:
        return build_choices.look_at_images(place)
    except CgraphError as error:
        return str(error)


@st.cache_data(ttl=60, max_entries=16, show_spinner=False)
def _facts(place: str) -> ModelFacts | str:
    """Return what a model folder says of its size, or why it says nothing."""
    try:
        return model_facts(place)
    except ModelError as error:
        return str(error)


def _before_it_starts(
    found: StudyList,
    root: Path,
    model: str,
    images: str,
    uploaded: Any,
    name: str,
    values: dict[str, Any],
) -> None:
    st.html("<h3 class='cg-section cg-first'>Before it starts</h3>")
    problems: list[str] = []
    folder = None
    if name:
        try:
            folder = build_choices.study_folder(name, root, found)
        except CgraphError as error:
            problems.append(str(error))
    try:
        config = build_choices.config_of(values)
    except CgraphError as error:
        problems.append(str(error))
        config = None
    facts = _show_model(model, problems)
    look = _show_images(images, uploaded, problems)
    missing = [
        what
        for what, given in (("a model", model), ("images", images or uploaded), ("a name", name))
        if not given
    ]
    settings = {"model": model, "images": images, "out": str(folder or ""), **values}
    upload_id = (uploaded.file_id, uploaded.name) if uploaded is not None else None
    key = (tuple(settings.items()), upload_id)
    checked: Estimate | None = None
    stored = st.session_state.get(_CHECKED)
    if stored and stored["key"] == key:
        checked = stored["estimate"]
        settings["images"] = stored["images"]
    elif look is not None and isinstance(facts, ModelFacts) and config is not None and folder:
        _show_estimate(rough_estimate(model, look.n_images, folder, config, values["workers"]))
    if checked is not None:
        _show_estimate(checked)
    for problem in problems:
        st.error(words.plain(problem))
    _buttons(settings, key, checked, uploaded, root, missing, bool(problems))


def _show_model(model: str, problems: list[str]) -> ModelFacts | str | None:
    if not model:
        return None
    if build_choices.is_hub_id(model):
        _fact("Model", f"<b>{escape(model)}</b>, from the Hub: its files are downloaded when you "
              "check the build.")  # fmt: skip
        return None
    facts = _facts(model)
    if isinstance(facts, str):
        problems.append(facts)
        return facts
    _fact(
        "Model",
        f"<b>{escape(build_jobs.short(model))}</b>: {escape(facts.family)}, "
        f"{facts.n_layers} layers of width {facts.d_model}, "
        f"{facts.n_parameters / 1e6:,.1f} million parameters",
    )
    return facts


def _show_images(images: str, uploaded: Any, problems: list[str]) -> ImageLook | None:
    if uploaded is not None:
        _fact(
            "Images",
            f"<b>{escape(uploaded.name)}</b>, {size(uploaded.size / 2**20)}: counted and stored "
            "when you check the build.",
        )
        return None
    if not images:
        return None
    try:
        on_hub = build_choices.is_hub_set(images)
    except CgraphError as error:
        problems.append(str(error))
        return None
    if on_hub:
        _fact("Images", f"<b>{escape(images)}</b>: counted when you check the build.")
        return None
    look = _look(images)
    if isinstance(look, str):
        problems.append(look)
        return None
    _fact("Images", f"<b>{look.n_images:,}</b> in {escape(look.name)}")
    pictures = "".join(
        f"<img src='{address}' alt='{escape(image_id, quote=True)}' "
        f"title='{escape(image_id, quote=True)}'>"
        for image_id, address in look.thumbnails
    )
    st.html(f"<div class='cg-peek'>{pictures}</div>")
    if look.problems:
        st.warning(words.plain(look.problems[0]))
    return look


def _fact(head: str, html: str) -> None:
    st.html(f"<p class='cg-sentence'><span class='cg-quiet'>{head}</span><br>{html}</p>")


def _show_estimate(estimate: Estimate) -> None:
    known = (
        "Measured on this machine a moment ago."
        if estimate.is_measured
        else "Roughly, from sizes alone; the check measures it on this machine."
    )
    rows = [
        ("Time", time_span(estimate.seconds_low, estimate.seconds_high), ""),
        (
            "Memory",
            f"up to {size(estimate.memory_mb)}",
            "" if estimate.memory_free_mb is None else f"{size(estimate.memory_free_mb)} available",
        ),
        (
            "Disk",
            f"{size(estimate.disk_mb)}, at most {size(estimate.disk_peak_mb)} meanwhile",
            f"{size(estimate.disk_free_mb)} free",
        ),
    ]
    cells = "".join(
        f"<dt>{head}</dt><dd><b>{escape(value)}</b>"
        f"{f' <span class=cg-quiet>{escape(note)}</span>' if note else ''}</dd>"
        for head, value, note in rows
    )
    st.html(
        f"<dl class='cg-figures cg-estimate'>{cells}</dl><p class='cg-quiet'>{escape(known)}</p>"
    )
    for warning in estimate.warnings:
        st.warning(words.plain(warning))


def _buttons(
    settings: dict[str, Any],
    key: Any,
    checked: Estimate | None,
    uploaded: Any,
    root: Path,
    missing: list[str],
    wrong: bool,
) -> None:
    if checked is not None:
        st.button(
            "Start the build", type="primary", width="stretch", key="build.start",
            on_click=_start, args=(settings, checked),
        )  # fmt: skip
        return
    asked = st.button(
        "Check and estimate",
        type="primary",
        width="stretch",
        key="build.check",
        disabled=bool(missing) or wrong,
        help="Loads the model, looks at the images and times a few steps on this machine. Takes "
        "some ten seconds, and starts nothing.",
    )
    if missing:
        last = f" and {missing[-1]}" if len(missing) > 1 else missing[0]
        st.html(f"<p class='cg-quiet'>Still needed: {', '.join(missing[:-1])}{last}.</p>")
    if asked:
        _check(settings, key, uploaded, root)


def _check(settings: dict[str, Any], key: Any, uploaded: Any, root: Path) -> None:
    """Make every check of the build, and keep what it found for as long as nothing is changed."""
    try:
        if uploaded is not None:
            with st.spinner("Storing the images …"):
                data = uploaded.getvalue()
                called = build_choices.upload_name(uploaded.name, data)
                place = build_choices.store_upload(data, root, called)
            settings = {**settings, "images": str(place)}
        # In a new installation the kernels are compiled first, which takes a minute once.
        with st.spinner(
            "Loading the model and timing a few steps on this machine … "
            "The first time takes a minute longer."
        ):
            estimate = Estimate.from_dict(build_choices.check(settings))
        estimate.check_disk(Path(settings["out"]))
    except CgraphError as error:
        st.error(words.plain(str(error)))
        return
    st.session_state[_CHECKED] = {
        "key": key, "estimate": estimate, "images": settings["images"],
    }  # fmt: skip
    st.rerun()


def _start(settings: dict[str, Any], estimate: Estimate) -> None:
    try:
        start(settings, estimate=estimate.to_dict())
    except CgraphError as error:
        st.session_state[build_jobs.PROBLEM] = str(error)
        return
    st.session_state.pop(_CHECKED, None)
    st.session_state[_NAME] = ""
    resources.studies.clear()
