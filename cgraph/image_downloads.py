"""Images fetched from addresses: politely, once, and never half.

An address is asked at most at a set rate for each host, several times with growing pauses if the
failure may pass, and as the server says if it sends ``Retry-After``. What comes back is kept in a
cache once it decodes as an image. An address that answers with something else, or that it has
nothing, is dead: that is kept too, so that a build that is run again asks only where the answer may
have changed, and gives the same result.

Addresses come from a list that the user gave, so no address is refused for where it leads: a server
on this machine or in the local network is as good as any. Only http and https are spoken, and
redirects to anything else are dead links.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from cgraph import __version__
from cgraph.decoding import load_image
from cgraph.download_cache import DownloadCache, HostTurns, cache_folder, retry_after
from cgraph.errors import ConfigError, FetchError, ImageError
from cgraph.prefetching import Prefetcher

AGENT = f"cgraph/{__version__} (one image at a time from a list; keeps Retry-After)"

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
"""Answers after which the same request may succeed."""

_LONGEST_WAIT = 120.0
"""Seconds that a server may ask to wait, beyond which its image is left for another time."""

_MOST_REDIRECTS = 5
_PIECE = 64 * 1024
_AWAY_AFTER = 4
_AWAY_SECONDS = 60.0
_UNREACHED = 100
_NET_SECONDS = 600.0

_PLACEHOLDERS = ("photo_unavailable",)
"""How the names of pictures begin that hosts show in place of one that was removed (Flickr)."""


@dataclass(frozen=True)
class DownloadSettings:
    """How images are fetched; environment variables of the same meaning change it.

    Attributes
    ----------
    folder : str
        The cache; ``CGRAPH_CACHE``.
    rate : float
        Most requests to one host in a second; ``CGRAPH_DOWNLOAD_RATE``.
    timeout : float
        Seconds without a byte after which a request is given up; ``CGRAPH_DOWNLOAD_TIMEOUT``. The
        whole of an image may take six times as long.
    max_mb : float
        Most MiB of one image; ``CGRAPH_DOWNLOAD_MAX_MB``.
    attempts : int
        Times that an address is asked while the failure may pass; ``CGRAPH_DOWNLOAD_ATTEMPTS``.
    connections : int
        Most requests of one process at a time; ``CGRAPH_DOWNLOAD_CONNECTIONS``.
    pause : float
        Seconds before the second request to an address; doubled before each further one.
    """

    folder: str
    rate: float = 20.0
    timeout: float = 10.0
    max_mb: float = 32.0
    attempts: int = 4
    connections: int = 16
    pause: float = 0.5

    def __post_init__(self) -> None:
        for name in ("rate", "timeout", "max_mb", "attempts", "connections"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(
                    f"CGRAPH_DOWNLOAD_{name.upper()} is {value}: it must be a number above 0."
                )

    @classmethod
    def from_environment(cls) -> DownloadSettings:
        """Return the settings of this machine.

        Raises
        ------
        ConfigError
            If an environment variable is no number above 0.
        """
        values: dict[str, Any] = {"folder": str(cache_folder())}
        kinds: dict[str, Callable[[str], Any]] = {
            "rate": float, "timeout": float, "max_mb": float, "attempts": int, "connections": int,
        }  # fmt: skip
        for name, kind in kinds.items():
            variable = f"CGRAPH_DOWNLOAD_{name.upper()}"
            text = os.environ.get(variable)
            if text:
                try:
                    values[name] = kind(text)
                except ValueError:
                    whole = "a whole" if kind is int else "a"
                    raise ConfigError(
                        f"{variable} is {text!r}: it must be {whole} number above 0."
                    ) from None
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for workers; which may have another cache."""
        values = asdict(self)
        del values["folder"]
        return values


class _Dead(Exception):
    """The address has no image, and asking again would not change that."""


class _Passing(Exception):
    """The request failed, and may succeed at another time."""

    def __init__(
        self,
        reason: str,
        wait: float | None = None,
        *,
        reached: bool = True,
        lasting: bool = False,
    ) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asks for
        self.reached = reached  # whether there was a server
        self.lasting = lasting  # whether it counts as dead if the last attempt ends so


@lru_cache(maxsize=4)
def downloader(settings: DownloadSettings) -> Downloader:
    """Return the one downloader of this process with such settings."""
    return Downloader(settings)


class Downloader:
    """Fetches images by their addresses; safe for threads.

    Parameters
    ----------
    settings : DownloadSettings
    """

    def __init__(self, settings: DownloadSettings) -> None:
        self.settings = settings
        self.cache = DownloadCache(Path(settings.folder))
        self._turns = HostTurns(Path(settings.folder), settings.rate)
        self._mutex = threading.Lock()
        self._queue = Prefetcher(self._perform, settings.connections)
        self._local = threading.local()
        self._misses: dict[str, int] = {}
        self._away: dict[str, float] = {}
        self._unreached = 0

    def load(self, url: str) -> Image.Image:
        """Return the image of an address, from the cache or the net.

        Raises
        ------
        ImageError
            If the link is dead, or the image could not be fetched this time; says which.
        FetchError
            If no server at all can be reached, or the cache cannot be written.
        """
        image = self._cached(url)
        if image is not None:
            return image
        self._queue.finish(url)
        image = self._cached(url)
        if image is None:
            raise FetchError(
                f"What was fetched of {url} is gone from the cache {self.settings.folder}. Run the "
                "same command again: finished work is kept."
            )
        return image

    def prefetch(self, urls: Sequence[str]) -> None:
        """Begin to fetch images in the background, in this order; returns at once."""
        for url in urls:
            if not self.cache.path(url).exists():
                self._queue.begin(url)

    def _cached(self, url: str) -> Image.Image | None:
        reason = self.cache.dead(url)
        if reason is not None:
            raise ImageError(reason)
        data = self.cache.read(url)
        if data is None:
            return None
        try:
            return load_image(data, url)
        except ImageError:
            self.cache.forget(url)  # it decoded when it was written, so the disk has damaged it
            return None

    def _perform(self, url: str) -> None:
        # Another process may have fetched it since it was put into the queue.
        if self.cache.dead(url) is None and not self.cache.path(url).exists():
            self._fetch(url)

    def _fetch(self, url: str) -> None:
        """Fetch one image into the cache, or raise and remember why not."""
        try:
            host = _host(url)
            self._refuse_if_away(host)
            data = self._try_again(url, host)
        except _Dead as error:
            reason = f"{url} is a dead link: {error}"
            self.cache.mark_dead(url, reason)
            raise ImageError(reason) from None
        except _Passing as error:
            self._check_net(error)
            raise ImageError(
                f"{url} could not be fetched this time: {error}. It is asked for again by the next "
                "build that needs it."
            ) from None
        self.cache.write(url, data)

    def _refuse_if_away(self, host: str) -> None:
        if time.monotonic() < self._away.get(host, 0.0):
            raise _Passing(
                f"{host} could not be reached {_AWAY_AFTER} times in a row just before",
                reached=False,
            )

    def _try_again(self, url: str, host: str) -> bytes:
        for attempt in range(self.settings.attempts):
            self._turns.wait(host)
            try:
                data, whole = self._request(url, host)
                load_image(data, url)  # a picture that ends too early is no picture
            except _Passing as error:
                failure = error
            except ImageError as error:
                reason = str(error).removeprefix(url).strip()
                if "truncated" not in reason:
                    raise _Dead(f"what it sends {reason}") from None
                failure = _Passing(f"what it sends {reason}", lasting=whole)
            else:
                return data
            if failure.reached:
                self._reached(host)
            wait = self.settings.pause * 2**attempt
            if failure.wait is not None:
                if failure.wait > _LONGEST_WAIT:
                    raise failure
                self._turns.hold(host, failure.wait)
                wait = failure.wait
            if attempt + 1 < self.settings.attempts:
                time.sleep(wait)
        if failure.lasting:
            raise _Dead(str(failure))
        if not failure.reached:
            self._missed(host)
        raise failure

    def _reached(self, host: str) -> None:
        self.cache.answered()
        with self._mutex:
            self._misses.pop(host, None)
            self._unreached = 0

    def _missed(self, host: str) -> None:
        with self._mutex:
            self._misses[host] = self._misses.get(host, 0) + 1
            if self._misses[host] >= _AWAY_AFTER:
                self._away[host] = time.monotonic() + _AWAY_SECONDS
                self._misses[host] = 0

    def _check_net(self, error: _Passing) -> None:
        """Stop a build in which no server at all can be reached: its images are not unreadable."""
        if error.reached:
            return
        with self._mutex:
            self._unreached += 1
            enough = self._unreached >= _UNREACHED
        if enough and time.time() - self.cache.last_answer() > _NET_SECONDS:
            raise FetchError(
                f"None of the last {_UNREACHED} images could be fetched, because no server could "
                f"be reached ({error}). Check the connection, then run the same command again: "
                "finished work and all images that were fetched are kept."
            )

    def _session(self) -> Any:
        """Return the connections of this thread, which stay open from one image to the next."""
        session = getattr(self._local, "session", None)
        if session is None:
            import requests

            session = self._local.session = requests.Session()
            session.headers["User-Agent"] = AGENT
            session.max_redirects = _MOST_REDIRECTS
            # What a server sends must not depend on what was fetched before.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return session

    def _request(self, url: str, host: str) -> tuple[bytes, bool]:
        """Ask once for an image; return its bytes, and whether the server said how many."""
        import requests

        end = time.monotonic() + 6 * self.settings.timeout
        errors = requests.exceptions
        try:
            with self._session().get(url, stream=True, timeout=self.settings.timeout) as answer:
                self._reached(host)
                # A body that is shorter than announced is an error of `requests`.
                return self._body(answer, end), "Content-Length" in answer.headers
        except (errors.InvalidURL, errors.MissingSchema) as error:
            raise _Dead(f"it is no address ({error})") from None
        except errors.InvalidSchema:
            raise _Dead("it redirects to something other than http or https") from None
        except errors.TooManyRedirects:
            raise _Dead(f"it redirects more than {_MOST_REDIRECTS} times") from None
        except (errors.ConnectTimeout, errors.SSLError, errors.ProxyError) as error:
            raise _Passing(_cause(error), reached=False) from None
        except (errors.Timeout, errors.ChunkedEncodingError, errors.ContentDecodingError) as error:
            raise _Passing(_cause(error)) from None
        except errors.ConnectionError as error:
            # Also a time-out while reading, and a connection that was cut.
            raise _Passing(_cause(error), reached="Read timed out" in str(error)) from None
        except errors.RequestException as error:
            raise _Passing(_cause(error)) from None
        except ValueError as error:  # a host name that cannot be written, for example
            raise _Dead(f"it is no address ({error})") from None

    def _body(self, answer: Any, end: float) -> bytes:
        if answer.status_code in _TRANSIENT:
            wait = retry_after(answer.headers.get("Retry-After"))
            raise _Passing(f"the server answers {answer.status_code} {answer.reason}", wait)
        if answer.status_code != 200:
            raise _Dead(f"the server answers {answer.status_code} {answer.reason}")
        place = urlsplit(answer.url).path.rpartition("/")[2]
        if answer.history and place.startswith(_PLACEHOLDERS):
            raise _Dead(f"it leads to {place}, which stands for a picture that was removed")
        most = int(self.settings.max_mb * 2**20)
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > most:
            raise _Dead(_too_large(int(announced) / 2**20, self.settings.max_mb))
        pieces, size = [], 0
        for piece in answer.iter_content(_PIECE):
            size += len(piece)
            if size > most:
                raise _Dead(_too_large(None, self.settings.max_mb))
            if time.monotonic() > end:
                raise _Passing(f"it took longer than {6 * self.settings.timeout:g} s")
            pieces.append(piece)
        return b"".join(pieces)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError as error:
        raise _Dead(f"it is no address ({error})") from None


def _too_large(size: float | None, most: float) -> str:
    what = "it sends more" if size is None else f"it sends {size:.1f} MiB"
    return f"{what} than the {most:g} MiB allowed (CGRAPH_DOWNLOAD_MAX_MB)"


def _cause(error: BaseException) -> str:
    """Return the innermost reason of an error of the net, in its own words and short."""
    seen: BaseException = error
    while True:
        inner = getattr(seen, "reason", None) or next(
            (a for a in seen.args if isinstance(a, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        seen = inner
    text = str(seen.args[-1] if seen.args else seen)
    return text.partition("\n")[0].rpartition("): ")[2][:200].rstrip(".") or type(seen).__name__
