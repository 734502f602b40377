from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgraph.errors import ImageError
from cgraph.image_reference import (
    HubReference,
    as_begun,
    is_remote,
    located,
    parse_reference,
    within,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BEGUN = f"hub:owner/name@{COMMIT}:default/train"
NAMES = st.from_regex(r"[A-Za-z0-9]([\w.-]{0,8}\w)?", fullmatch=True).filter(str.isascii)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("owner/name", HubReference("owner/name")),
        ("hub:owner/name", HubReference("owner/name")),
        ("owner/na-me.2@v1.0", HubReference("owner/na-me.2", "v1.0")),
        ("owner/name@refs/pr/3", HubReference("owner/name", "refs/pr/3")),
        ("owner/name:test", HubReference("owner/name", None, None, "test")),
        ("owner/name:en/test", HubReference("owner/name", None, "en", "test")),
        ("hub:o/n@main:en/test", HubReference("o/n", "main", "en", "test")),
    ],
)
def test_data_sets(
    reference: str, expected: HubReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_reference(reference) == expected


@pytest.mark.parametrize(
    "reference",
    ["photos", "./owner/name", "../a/b", "/a/b", "a/b/c", "a/b/", "photos.zip", "a b/c", "-a/b"],
)
def test_paths(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_reference(reference) == Path(reference).absolute()
    assert parse_reference(Path("owner/name")) == tmp_path / "owner/name"


@pytest.mark.parametrize(
    "reference", ["hub:", "hub:a", "hub:a/b/c", "hub:a/b@", "hub:a/b:", "hub:a b/c"]
)
def test_what_is_no_data_set(reference: str) -> None:
    with pytest.raises(ImageError, match=r"is no data set of the Hub\. Write hub:owner/name"):
        parse_reference(reference)


@given(NAMES, NAMES, st.none() | NAMES, st.none() | NAMES, st.none() | NAMES)
def test_a_data_set_is_what_it_is_written_as(
    owner: str, name: str, revision: str | None, config: str | None, split: str | None
) -> None:
    found = HubReference(f"{owner}/{name}", revision, config if split else None, split)
    assert parse_reference(str(found)) == found


def test_what_lies_in_a_study_is_kept_relative_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for reference, kept in [
        (str(folder / "set.zip"), "set.zip"),
        (str(tmp_path / "set.zip"), str(tmp_path / "set.zip")),
        (BEGUN, BEGUN),
    ]:
        assert within(reference, folder) == kept
        assert located(kept, folder) == reference
    assert located("set.zip", tmp_path / "moved") == str(tmp_path / "moved/set.zip")
    assert is_remote(BEGUN) and not is_remote("set.zip")


@pytest.mark.parametrize(
    ("asked", "kept", "found"),
    [
        ("hub:owner/name", BEGUN, BEGUN),
        ("hub:owner/name:train", BEGUN, BEGUN),
        ("hub:owner/name:default/train", BEGUN, BEGUN),
        ("hub:owner/name@main", BEGUN, None),
        ("hub:owner/name:test", BEGUN, None),
        ("hub:owner/name:large/train", BEGUN, None),
        ("hub:owner/other", BEGUN, None),
        ("hub:owner/name", f"hub:owner/name@{COMMIT}:large/train", None),
        ("hub:owner/name", f"hub:owner/name@{COMMIT}:default/test", None),
        ("hub:owner/name", "set.zip", None),
        ("hub:owner/name", None, None),
        ("set.zip", BEGUN, None),
    ],
)
def test_a_build_goes_on_with_the_commit_it_began_with(
    asked: str, kept: str | None, found: str | None
) -> None:
    assert as_begun(asked, kept) == (found or asked)
