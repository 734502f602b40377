import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest
from bad_images import encoded, photo
from local_server import Answer, Server, serving

from cgraph.download_cache import DownloadCache, HostTurns, cache_folder, retry_after
from cgraph.errors import ConfigError, FetchError, ImageError
from cgraph.image_downloads import Downloader, DownloadSettings

JPEG = encoded(photo(), "JPEG")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/a.jpg": Answer(JPEG), "/b.jpg": Answer(JPEG)}) as running:
        yield running


def settings(folder: Path, **changes: object) -> DownloadSettings:
    usual = {"rate": 500.0, "timeout": 1.0, "attempts": 3, "pause": 0.01}
    return DownloadSettings(str(folder), **{**usual, **changes})


def downloader(folder: Path, **changes: object) -> Downloader:
    return Downloader(settings(folder, **changes))


def reason(loader: Downloader, url: str) -> str:
    with pytest.raises(ImageError) as caught:
        loader.load(url)
    return str(caught.value)


def test_an_image_is_fetched_once(server: Server, tmp_path: Path) -> None:
    assert downloader(tmp_path).load(f"{server.url}/a.jpg").size == photo().size
    assert downloader(tmp_path).load(f"{server.url}/a.jpg").size == photo().size
    assert server.times("/a.jpg") == 1
    kept = [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [JPEG]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_dead_link_is_remembered(server: Server, tmp_path: Path, status: int) -> None:
    server.answers["/gone.jpg"] = Answer(b"no", status)
    url = f"{server.url}/gone.jpg"
    said = reason(downloader(tmp_path), url)
    assert said.startswith(f"{url} is a dead link: the server answers {status} ")
    assert reason(downloader(tmp_path), url) == said
    assert server.times("/gone.jpg") == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    server.answers["/late.jpg"] = [Answer(b"", status), Answer(b"", status), Answer(JPEG)]
    assert downloader(tmp_path).load(f"{server.url}/late.jpg").size == photo().size
    assert server.times("/late.jpg") == 3


def test_pauses_grow(server: Server, tmp_path: Path) -> None:
    server.answers["/late.jpg"] = [Answer(b"", 500)] * 3 + [Answer(JPEG)]
    downloader(tmp_path, attempts=4, pause=0.1).load(f"{server.url}/late.jpg")
    times = [asked.time for asked in server.asked]
    pauses = [b - a for a, b in pairwise(times)]
    for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True):
        assert least <= pause


def test_a_failure_that_lasts_is_left_for_the_next_build(server: Server, tmp_path: Path) -> None:
    server.answers["/late.jpg"] = [Answer(b"", 500)] * 3 + [Answer(JPEG)]
    url = f"{server.url}/late.jpg"
    said = reason(downloader(tmp_path), url)
    assert "could not be fetched this time: the server answers 500" in said
    assert server.times("/late.jpg") == 3
    assert downloader(tmp_path).load(url).size == photo().size


def test_the_server_says_how_long_to_wait(server: Server, tmp_path: Path) -> None:
    server.answers["/busy.jpg"] = [Answer(b"", 429, {"Retry-After": "1"}), Answer(JPEG)]
    loader = downloader(tmp_path)
    loader.load(f"{server.url}/busy.jpg")
    first, second = [asked.time for asked in server.asked]
    assert second - first >= 0.99
    server.answers["/closed.jpg"] = Answer(b"", 503, {"Retry-After": "4000"})
    started = time.monotonic()
    assert "could not be fetched this time" in reason(loader, f"{server.url}/closed.jpg")
    assert time.monotonic() - started < 5 and server.times("/closed.jpg") == 1


def test_while_a_host_asks_to_wait_nothing_else_is_asked_of_it(
    server: Server, tmp_path: Path
) -> None:
    server.answers["/busy.jpg"] = [Answer(b"", 429, {"Retry-After": "1"}), Answer(JPEG)]
    loader = downloader(tmp_path)
    loader.prefetch([f"{server.url}/busy.jpg"])
    while not server.asked:
        time.sleep(0.01)
    time.sleep(0.2)
    loader.load(f"{server.url}/a.jpg")
    other = next(asked for asked in server.asked if asked.path == "/a.jpg")
    assert other.time - server.asked[0].time >= 0.99


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0
    assert retry_after(None) is retry_after("soon") is None


def test_a_server_that_sends_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    def hang(_: object) -> Answer:
        time.sleep(1.0)
        return Answer(JPEG)

    server.answers["/slow.jpg"] = hang
    said = reason(downloader(tmp_path, timeout=0.2, attempts=2), f"{server.url}/slow.jpg")
    assert "could not be fetched this time" in said and "timed out" in said
    assert server.times("/slow.jpg") == 2


def test_a_server_that_sends_drop_by_drop_is_given_up(server: Server, tmp_path: Path) -> None:
    server.answers["/drops.jpg"] = Answer(JPEG, pause=0.15)
    loader = downloader(tmp_path, timeout=0.05, attempts=1)
    assert "could not be fetched this time" in reason(loader, f"{server.url}/drops.jpg")


def test_half_an_image_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    half = JPEG[: len(JPEG) // 2]
    server.answers["/cut.jpg"] = [Answer(half, announced=len(JPEG)), Answer(JPEG)]
    server.answers["/short.jpg"] = [Answer(half, announced=-1), Answer(JPEG)]
    for name in ("cut", "short"):
        assert downloader(tmp_path).load(f"{server.url}/{name}.jpg").size == photo().size
        assert server.times(f"/{name}.jpg") == 2


def test_half_an_image_for_ever_is_no_image(server: Server, tmp_path: Path) -> None:
    half = JPEG[: len(JPEG) // 2]
    server.answers["/cut.jpg"] = Answer(half, announced=len(JPEG))
    server.answers["/short.jpg"] = Answer(half, announced=-1)
    server.answers["/broken.jpg"] = Answer(half)  # the file itself is broken
    for name, words in (("cut", "this time"), ("short", "this time"), ("broken", "is a dead link")):
        said = reason(downloader(tmp_path), f"{server.url}/{name}.jpg")
        assert words in said and server.times(f"/{name}.jpg") == 3
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and len(path.name) == 64]


def test_redirects_lead_to_the_image(server: Server, tmp_path: Path) -> None:
    server.answers["/moved.jpg"] = Answer(b"", 302, {"Location": "/a.jpg"})
    assert downloader(tmp_path).load(f"{server.url}/moved.jpg").size == photo().size


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("file:///etc/hostname", "redirects to something other than http or https"),
        ("ftp://127.0.0.1/a.jpg", "redirects to something other than http or https"),
        ("/loop.jpg", "redirects more than 5 times"),
        ("/photo_unavailable.png", "stands for a picture that was removed"),
    ],
)
def test_redirects_that_lead_nowhere(
    server: Server, tmp_path: Path, target: str, words: str
) -> None:
    server.answers["/loop.jpg"] = Answer(b"", 302, {"Location": target})
    server.answers["/photo_unavailable.png"] = Answer(encoded(photo(), "PNG"))
    said = reason(downloader(tmp_path), f"{server.url}/loop.jpg")
    assert words in said and "is a dead link" in said


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><body>Sign in</body></html>", "looks like an HTML page"),
        (b"", "is empty"),
        (b"%PDF-1.7", "looks like a PDF"),
    ],
)
def test_what_is_no_image_is_dead(server: Server, tmp_path: Path, body: bytes, words: str) -> None:
    server.answers["/page.jpg"] = Answer(body)
    loader = downloader(tmp_path)
    said = reason(loader, f"{server.url}/page.jpg")
    assert words in said and "is a dead link" in said
    assert reason(downloader(tmp_path), f"{server.url}/page.jpg") == said
    assert server.times("/page.jpg") == 1


@pytest.mark.parametrize("announced", [None, -1])
def test_too_large_an_image_is_not_read_to_its_end(
    server: Server, tmp_path: Path, announced: int | None
) -> None:
    server.answers["/big.jpg"] = Answer(JPEG + bytes(2**20), announced=announced)
    said = reason(downloader(tmp_path, max_mb=0.5), f"{server.url}/big.jpg")
    assert "0.5 MiB allowed (CGRAPH_DOWNLOAD_MAX_MB)" in said and "is a dead link" in said


@pytest.mark.parametrize("url", ["http://", "http://[half", "https://exa mple/a.jpg", "http://:1/"])
def test_what_is_no_address_is_dead(tmp_path: Path, url: str) -> None:
    assert "is a dead link" in reason(downloader(tmp_path), url)


_FETCH_ALL = """
import json
import sys

from cgraph.image_downloads import Downloader, DownloadSettings

loader = Downloader(DownloadSettings(**json.loads(sys.argv[1])))
loader.prefetch(sys.argv[2:])
for url in sys.argv[2:]:
    loader.load(url)
"""


def test_the_rate_is_kept_by_threads_and_processes(server: Server, tmp_path: Path) -> None:
    server.answers.update({f"/{n}.jpg": Answer(JPEG) for n in range(20)})
    urls = [f"{server.url}/{n}.jpg" for n in range(20)]
    polite = settings(tmp_path, rate=20.0)
    # All turns come after a moment that is known, however long the processes take to start.
    first = time.time() + 3
    HostTurns(tmp_path, 20.0).hold(server.url.removeprefix("http://"), 3)
    command = [sys.executable, "-c", _FETCH_ALL, json.dumps(asdict(polite))]
    fetching = [subprocess.Popen([*command, *part]) for part in (urls[:10], urls[10:])]
    assert [process.wait(timeout=120) for process in fetching] == [0, 0]
    times = sorted(asked.time for asked in server.asked)
    assert len(times) == 20
    for n, asked in enumerate(times):
        assert asked >= first + n / 20 - 0.01, "a request may come late, but never early"


def test_hosts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    turns = HostTurns(tmp_path, rate=0.1)
    started = time.monotonic()
    for host in ("one", "two", "three"):
        turns.wait(host)
    assert time.monotonic() - started < 5


def test_a_turn_of_another_clock_is_no_turn(tmp_path: Path) -> None:
    turns = HostTurns(tmp_path, rate=100)
    turns.wait("host")
    for path in (tmp_path / "hosts").iterdir():
        if path.suffix != ".lock":
            path.write_text(repr(time.time() + 10**6))
    started = time.monotonic()
    turns.wait("host")
    assert time.monotonic() - started < 5


def test_no_more_connections_than_allowed(server: Server, tmp_path: Path) -> None:
    active, most = 0, 0

    def count(_: object) -> Answer:
        nonlocal active, most
        active += 1
        most = max(most, active)
        time.sleep(0.05)
        active -= 1
        return Answer(JPEG)

    urls = [f"{server.url}/n{n}.jpg" for n in range(12)]
    server.answers.update({f"/n{n}.jpg": count for n in range(12)})
    loader = downloader(tmp_path, connections=3)
    loader.prefetch(urls)
    loader.load(urls[-1])
    assert 2 <= most <= 3


def test_what_was_begun_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.answers["/slow.jpg"] = Answer(JPEG, pause=0.1)
    loader = downloader(tmp_path)
    url = f"{server.url}/slow.jpg"
    loader.prefetch([url, url])
    loader.load(url)
    assert server.times("/slow.jpg") == 1


def test_no_cookie_is_sent_back(server: Server, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = Answer(JPEG, headers={"Set-Cookie": "id=1"})
    loader = downloader(tmp_path)
    for name in ("a", "b"):
        loader.load(f"{server.url}/{name}.jpg")
    assert all("Cookie" not in asked.headers for asked in server.asked)


def test_a_damaged_file_of_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/a.jpg"
    downloader(tmp_path).load(url)
    DownloadCache(tmp_path).path(url).write_bytes(JPEG[:100])
    assert downloader(tmp_path).load(url).size == photo().size
    assert server.times("/a.jpg") == 2


def test_without_any_net_a_build_stops_and_loses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cgraph.image_downloads._UNREACHED", 3)
    loader = downloader(tmp_path, attempts=1)
    closed = [f"http://127.0.0.1:9/{n}.jpg" for n in range(3)]
    for url in closed[:2]:
        assert "could not be fetched this time" in reason(loader, url)
    with pytest.raises(FetchError, match=r"no server could be reached.*finished work"):
        loader.load(closed[2])
    # A server that answers shows that the net is there: then they are just not to be had.
    assert "404" in reason(loader, f"{server.url}/gone.jpg")
    for url in closed * 2:
        assert "could not be fetched this time" in reason(loader, url)


def test_a_host_that_is_away_is_not_waited_for_again_and_again(tmp_path: Path) -> None:
    loader = downloader(tmp_path, attempts=2, pause=0.01)
    said = [reason(loader, f"http://127.0.0.1:9/{n}.jpg") for n in range(6)]
    assert "4 times in a row just before" not in said[3]
    assert "4 times in a row just before" in said[4] and "4 times in a row" in said[5]


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CGRAPH_CACHE", str(tmp_path))
    monkeypatch.setenv("CGRAPH_DOWNLOAD_RATE", "2.5")
    monkeypatch.setenv("CGRAPH_DOWNLOAD_ATTEMPTS", "7")
    found = DownloadSettings.from_environment()
    assert (found.folder, found.rate, found.attempts) == (str(tmp_path), 2.5, 7)
    assert DownloadSettings(str(tmp_path), **found.to_dict()) == found
    for value in ("fast", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("CGRAPH_DOWNLOAD_RATE", value)
        with pytest.raises(ConfigError, match=r"CGRAPH_DOWNLOAD_RATE is .* number above 0"):
            DownloadSettings.from_environment()


def test_the_cache_lies_with_the_users_other_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CGRAPH_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/cgraph")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/cgraph"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library/Caches/cgraph"


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match=r"could not be written .* CGRAPH_CACHE"):
        downloader(tmp_path / "file" / "cache").load(f"{server.url}/a.jpg")
    assert os.listdir(tmp_path) == ["file"]
