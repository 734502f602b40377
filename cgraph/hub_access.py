"""What requests to the Hugging Face Hub have in common: names, and sentences for errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from cgraph.errors import ConfigError, StudyError

PREFIX = "hub:"
"""May stand before the name of a repository, as in references to models and images."""

_PART = "[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(f"{_PART}/{_PART}")


def repository_name(reference: str) -> str:
    """Return ``owner/name``, which may be given with ``hub:`` before it.

    Raises
    ------
    ConfigError
        If it is none.
    """
    name = reference.removeprefix(PREFIX)
    if _NAME.fullmatch(name) and ".." not in name and "--" not in name:
        return name
    raise ConfigError(
        f"{reference!r} is not the name of a repository. Write it as owner/name, with letters, "
        "digits, hyphens, dots and underscores."
    )


@contextmanager
def explained(repository: str) -> Iterator[None]:
    """Say in a sentence what the Hub did not like, and keep its own bars off the screen.

    Raises
    ------
    StudyError
        In place of what huggingface_hub raises.
    """
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # What the HTTP library of this version raises where nobody answers.
    unanswered: type[BaseException] = next(
        kind
        for kind in HfHubHTTPError.__mro__
        if kind.__name__ == "HTTPError" and issubclass(kind, BaseException)
    )
    had_bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (unanswered, OSError) as error:
        raise StudyError(_sentence(error, repository)) from None
    except RuntimeError as error:  # of a thread that uploads
        raise StudyError(_sentence(error.__cause__ or error, repository)) from None
    finally:
        if had_bars:
            enable_progress_bars()


def _sentence(error: BaseException, repository: str) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "Log in with `hf auth login`, or set HF_TOKEN."
    if isinstance(error, LocalTokenNotFoundError):
        return f"You are not logged in to the Hub. {login}"
    if isinstance(error, GatedRepoError):
        return f"Access to {repository} has to be asked for on its page on the Hub. {login}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repository} has no such revision. Give the hash of a commit, a branch or a tag."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no dataset repository {repository} on the Hub, or you may not see it. Check "
            f"the name. {login}"
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return (
                f"The Hub refuses your login for {repository} (status {status}). You need a token "
                f"that may write to it. {login}"
            )
        return (
            f"The Hub answers for {repository} with status {status}. Try again later: what was "
            "transferred is kept."
        )
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return (
        f"The transfer for {repository} did not succeed ({reason}). Check the connection, "
        "HF_HUB_OFFLINE and the space on the disk, and try again: what was transferred is kept."
    )
