"""Studies on the Hugging Face Hub: one study, one dataset repository.

What is pushed is what `cgraph export` packs: the files of the manifest, names given by hand, the
model if it lies in the folder, and a generated card. All of it becomes one commit, so that nobody
ever pulls half a study; contents that were uploaded before an interruption are not uploaded again.
What is pulled is pinned to one revision and compared with the hashes of the manifest.

Requests are made by huggingface_hub, with the token of the user's login, and only when one of the
functions here is called.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cgraph.errors import StudyError
from cgraph.given_names import GIVEN_NAMES
from cgraph.hub_access import explained, repository_name
from cgraph.manifest import MANIFEST, Manifest
from cgraph.object_paths import is_remote
from cgraph.store import read_json
from cgraph.study import Study
from cgraph.study_archive import on_this_machine
from cgraph.study_card import CARD, WRITTEN, study_card
from cgraph.study_files import BESIDE, FolderFiles, is_model_file, travelling, verify_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_KIND = "dataset"
_FILES_AT_A_TIME = 32
_BYTES_AT_A_TIME = 256 << 20
_DOWNLOADS = 8
_SPARE_BYTES = 64 << 20
_OF_THE_HUB = (".gitattributes", CARD)

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class HubStudy:
    """Where a study lies on the Hub.

    Attributes
    ----------
    repository : str
        ``owner/name``.
    revision : str
        Hash of the commit.
    url : str
    private : bool
    """

    repository: str
    revision: str
    url: str
    private: bool


def push_study(
    study: Study,
    repository: str,
    *,
    public: bool = False,
    with_model: bool = True,
    model: Path | None = None,
    on_progress: Report | None = None,
) -> HubStudy:
    """Put a study on the Hub, in one commit.

    Parameters
    ----------
    study : Study
    repository : str
        ``owner/name`` of a dataset repository. It is made if it does not exist; if it does, it must
        be empty or hold an earlier state of the same study.
    public : bool
        Whether a new repository can be seen by everybody. One that exists stays as it is.
    with_model : bool
        Whether the model in the study folder, if there is one, comes along.
    model : Path, optional
        A folder of the model from elsewhere, to be taken along as ``model/``.
    on_progress : callable, optional
        Called with the bytes uploaded and the bytes to upload.

    Returns
    -------
    HubStudy

    Raises
    ------
    ConfigError
        If the name is none of a repository.
    StudyError
        If the study is not whole, the repository holds something else, or the Hub cannot be
        reached or refuses.
    """
    repository = repository_name(repository)
    folder, manifest = study.path, study.manifest
    if is_remote(folder):
        raise StudyError(
            f"The study in {folder} lies in an object store, and files of this machine are "
            f"uploaded. Push the zip file that `cgraph export {folder} {manifest.name}.zip` writes."
        )
    files = FolderFiles(folder)
    found = verify_files(files, manifest)
    if not found.whole:
        raise StudyError(
            f"The study in {folder} is not whole, so nothing was uploaded. "
            f"`cgraph verify {folder}` lists what is wrong."
        )
    names = travelling(files, manifest, with_model=with_model and model is None)
    places = {name: folder / name for name in names}
    if model is not None:
        places |= {
            f"model/{path.name}": path
            for path in sorted(model.iterdir())
            if path.is_file() and is_model_file(f"model/{path.name}")
        }
    with explained(repository):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api = HfApi()
        api.whoami()
        private, there = _prepare_repository(api, repository, manifest, public)
        additions = [CommitOperationAdd(n, str(place)) for n, place in places.items()]
        _upload(api, repository, additions, on_progress)
        operations: list[Any] = list(additions)
        if CARD not in there or WRITTEN in _text(api, repository, CARD):
            card = study_card(study, repository).encode()
            operations.append(CommitOperationAdd(CARD, card))
        gone = [name for name in there if name not in places and name not in _OF_THE_HUB]
        # Names that others gave are kept, even where this copy of the study has none.
        operations += [CommitOperationDelete(n) for n in gone if n != GIVEN_NAMES]
        commit = api.create_commit(
            repository,
            operations,
            commit_message=f"Push the study {manifest.name}",
            repo_type=_KIND,
        )
        url = f"{api.endpoint}/datasets/{repository}"
    return HubStudy(repository, str(commit.oid), url, private)


def _prepare_repository(
    api: HfApi, repository: str, manifest: Manifest, public: bool
) -> tuple[bool, list[str]]:
    """Return whether a repository is private and which files it holds, after making it if needed.

    Raises
    ------
    StudyError
        If it holds something else than this study.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(repository)
    except RepositoryNotFoundError:
        api.create_repo(repository, repo_type=_KIND, private=not public, exist_ok=True)
        return not public, []
    there = [sibling.rfilename for sibling in info.siblings or ()]
    if MANIFEST in there:
        values = _json(api, repository, str(info.sha))
        name = values.get("name") if isinstance(values, dict) else None
        if name != manifest.name:
            raise StudyError(
                f"{repository} holds the study {name!r}, and this one is called "
                f"{manifest.name!r}. Nothing was uploaded; choose another repository."
            )
    elif set(there) - set(_OF_THE_HUB):
        raise StudyError(
            f"{repository} holds other files, such as {sorted(set(there) - set(_OF_THE_HUB))[0]}, "
            "and no study. Nothing was uploaded; choose another repository."
        )
    return bool(info.private), there


def _upload(
    api: HfApi, repository: str, additions: Sequence[Any], on_progress: Report | None
) -> None:
    """Upload contents some files at a time; what the Hub has already is not sent again."""
    total = sum(addition.upload_info.size for addition in additions)
    done = 0
    batch: list[Any] = []
    for number, addition in enumerate(additions, start=1):
        batch.append(addition)
        size = sum(a.upload_info.size for a in batch)
        last = number == len(additions)
        if last or len(batch) == _FILES_AT_A_TIME or size >= _BYTES_AT_A_TIME:
            api.preupload_lfs_files(repository, batch, repo_type=_KIND, free_memory=False)
            done, batch = done + size, []
            if on_progress is not None:
                on_progress(done, total)


def _download(api: HfApi, repository: str, name: str, revision: str, folder: Path) -> Path:
    return Path(
        api.hf_hub_download(repository, name, repo_type=_KIND, revision=revision, local_dir=folder)
    )


def _json(api: HfApi, repository: str, revision: str) -> Any:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return read_json(_download(api, repository, MANIFEST, revision, Path(folder)))


def _text(api: HfApi, repository: str, name: str) -> str:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = _download(api, repository, name, "main", Path(folder))
        return path.read_text(encoding="utf-8", errors="replace")


def pull_study(
    repository: str,
    out: str | Path,
    *,
    revision: str | None = None,
    with_model: bool = True,
    on_progress: Report | None = None,
) -> HubStudy:
    """Get a study from the Hub.

    Parameters
    ----------
    repository : str
        ``owner/name`` of a dataset repository.
    out : str or Path
        The study folder to write, which must not exist yet or be empty. Until the study is whole,
        its files lie in a hidden folder beside it; the same call goes on with them.
    revision : str, optional
        Hash of a commit, branch or tag; the newest commit if left out.
    with_model : bool
        Whether the model, if there is one, comes along.
    on_progress : callable, optional
        Called with the bytes that are here and the bytes wanted.

    Returns
    -------
    HubStudy

    Raises
    ------
    ConfigError
        If the name is none of a repository.
    StudyError
        If there is no study, a file is not what its manifest says, or the Hub cannot be reached.
    """
    repository, out = repository_name(repository), on_this_machine(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudyError(f"{out} is there already. Choose a new folder to pull to.")
    working = out.with_name(f".{out.name}.pull")
    with explained(repository):
        from huggingface_hub import HfApi

        api = HfApi()
        info = api.dataset_info(repository, revision=revision, files_metadata=True)
        sha = str(info.sha)
        there = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
        if MANIFEST not in there:
            raise StudyError(
                f"{repository} holds no study: there is no {MANIFEST} in it. Check the name, or "
                "give the --revision that holds one."
            )
        working.mkdir(parents=True, exist_ok=True)
        _download(api, repository, MANIFEST, sha, working)
        manifest = Manifest.read(working)
        wanted = _wanted(repository, manifest, there, with_model)
        _remove_strangers(working, {MANIFEST, *wanted})
        _download_all(api, repository, sha, wanted, working, on_progress)
    found = verify_files(FolderFiles(working), manifest)
    if not found.whole:
        wrong = [*found.missing, *found.altered]
        for name in wrong:
            (working / name).unlink(missing_ok=True)
        first = wrong[0] if wrong else (*found.unfinished, "model/")[0]
        raise StudyError(
            f"{first} in {repository} at {sha} is not what {MANIFEST} says: the study was changed "
            "or is not finished. Pull another --revision, or ask its owner to push it again."
        )
    try:
        shutil.rmtree(working / ".cache", ignore_errors=True)
        if out.exists():
            out.rmdir()
        os.replace(working, out)
    except OSError as error:
        raise StudyError(
            f"{out} could not be written ({error.strerror or error}). Choose another place."
        ) from None
    return HubStudy(repository, sha, f"{api.endpoint}/datasets/{repository}", bool(info.private))


def _wanted(
    repository: str, manifest: Manifest, there: dict[str, int | None], with_model: bool
) -> dict[str, int]:
    """Return the files to download with their sizes: those of the study, and nothing else."""
    for name, record in manifest.files.items():
        if name not in there or there[name] not in (None, record.size):
            raise StudyError(
                f"{repository} is no whole study: {name} is missing or has another size than "
                f"{MANIFEST} says. Pull another --revision, or ask its owner to push it again."
            )
    sizes = {name: record.size for name, record in manifest.files.items()}
    for name, size in there.items():
        if name in BESIDE or (with_model and is_model_file(name)):
            sizes[name] = size or 0
    return sizes


def _remove_strangers(folder: Path, wanted: set[str]) -> None:
    """Remove what an interrupted pull of another revision left."""
    for name in FolderFiles(folder).sizes():
        if name not in wanted and PurePosixPath(name).parts[0] != ".cache":
            (folder / name).unlink()


def _download_all(
    api: HfApi,
    repository: str,
    sha: str,
    wanted: dict[str, int],
    folder: Path,
    on_progress: Report | None,
) -> None:
    total, done = sum(wanted.values()), 0
    here = sum(s for n, s in FolderFiles(folder).sizes().items() if n in wanted)
    free = shutil.disk_usage(folder).free - _SPARE_BYTES
    if total - here > free:
        raise StudyError(
            f"{repository} has {total >> 20} MB, and {folder.parent} has {free >> 20} MB left. "
            "Free some space or choose another place."
        )
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        running = {
            pool.submit(_download, api, repository, name, sha, folder): name for name in wanted
        }
        try:
            for finished in as_completed(running):
                finished.result()
                done += wanted[running[finished]]
                if on_progress is not None:
                    on_progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
