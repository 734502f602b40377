"""A page of a real browser that notes whatever goes wrong, and steps that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

IDLE = """() => {
  const app = document.querySelector('[data-testid=stApp]');
  return app && app.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-stale=true]');
}"""


@dataclass
class Visit:
    """An open page, what its console complained about, and requests that left the machine."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def wait(self) -> None:
        """Wait until the server has answered and nothing on the page is stale."""
        self.page.wait_for_function(IDLE, timeout=60_000)

    def node(self, concept: str) -> Any:
        """Return a concept of the graph."""
        return self.page.locator(f'.node[data-id="{concept}"]')

    def in_graph(self, expression: str) -> Any:
        """Evaluate a JavaScript expression of ``root``, the shadow root of the graph."""
        return self.page.evaluate(
            """(expression) => {
              const hosts = document.querySelectorAll('[data-testid=stBidiComponentIsolated]');
              const roots = [...hosts].map((host) => host.shadowRoot);
              const root = roots.find((shadow) => shadow.querySelector('.trace'));
              return new Function('root', `return ${expression}`)(root);
            }""",
            expression,
        )

    @contextmanager
    def sent(self) -> Iterator[list[Any]]:
        """Collect the frames that the page sends to the server meanwhile."""
        client = self.page.context.new_cdp_session(self.page)
        frames: list[Any] = []
        client.send("Network.enable")
        client.on("Network.webSocketFrameSent", lambda frame: frames.append(frame))
        yield frames
        client.detach()

    def selected(self) -> str | None:
        """Return the concept that is selected in the graph."""
        return self.in_graph("root.querySelector('.node.selected')?.dataset.id ?? null")

    def panel_title(self) -> str:
        """Return the heading of the panel."""
        return self.page.locator(".cg-concept").inner_text()

    def expect_panel(self, concept: str) -> None:
        """Wait until the panel is about a concept."""
        self.page.locator(".cg-concept", has_text=concept).wait_for(timeout=20_000)
        self.wait()


@contextmanager
def visit(
    browser: Any,
    address: str,
    query: str = "",
    *,
    width: int = 1440,
    height: int = 900,
    scheme: str = "light",
    ready: str = ".node",
) -> Iterator[Visit]:
    """Open the app and wait until its graph, or what else `ready` selects, stands."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    seen = Visit(page)
    host = urlsplit(address).netloc

    def on_request(request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != host:
            seen.outside.append(request.url)

    def on_console(message: Any) -> None:
        if message.type == "error":
            seen.complaints.append(message.text)

    page.on("request", on_request)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("console", on_console)
    try:
        page.goto(address + query)
        page.locator(ready).first.wait_for(timeout=60_000)
        seen.wait()
        yield seen
    finally:
        context.close()
