"""A crawler that opens at most two connections to each host at a time, however many hosts there are.

Four real HTTP servers link to each other's pages; the last one is slow. Each of them counts its connections.

    python examples/crawler.py      # httpx is needed
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpx

from glasspool import HybridExecutor, Limit

PAGES = 20
"""Pages of each host."""


async def fetch(client: httpx.AsyncClient, url: str) -> list[str]:
    """The links of a page."""
    page = (await client.get(url)).raise_for_status().text
    return [urljoin(url, link) for link in re.findall(r'href="([^"]+)"', page)]


async def crawl(client: httpx.AsyncClient, start: str) -> list[str]:
    """Every page that can be reached, in the order in which they were read."""
    read: list[str] = []
    seen = {start}
    # "*": each key, which is a host here, has a limit of its own.
    async with (
        HybridExecutor("crawler", max_in_flight=20, max_queued=None, limits={"*": Limit(in_flight=2)}) as executor,
        executor.pile() as pile,
    ):
        await pile.include(fetch, client, start, key=urlsplit(start).netloc)
        async for completed in pile:
            read.append(completed.item.arguments[1])
            for link in completed.unwrap():
                if link not in seen:
                    seen.add(link)
                    await pile.include(fetch, client, link, key=urlsplit(link).netloc)
    return read


class Site(ThreadingHTTPServer):
    """A host. Its front page links to its other pages, and each page to the front page of the next host."""

    def __init__(self, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.next = self.url
        self.seconds = seconds
        """What a page takes."""
        self.requests = self.most = 0
        """Requests; the most connections at a time."""
        self.lock = Lock()
        self._open = 0

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, from its beginning to its end."""
        with self.lock:
            self._open += 1
            self.most = max(self.most, self._open)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.lock:
                self._open -= 1


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"  # connections are used again
    server: Site

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests += 1
        time.sleep(self.server.seconds)
        links = [f"/{number}" for number in range(1, PAGES)] if self.path == "/" else []
        body = "".join(f'<a href="{link}">' for link in [*links, self.server.next]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """The site, in threads of its own."""
    with site:
        thread = Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()


async def main() -> None:
    with ExitStack() as stack:
        sites = [stack.enter_context(serving(Site(seconds))) for seconds in (0.02, 0.02, 0.02, 0.1)]
        for site, following in zip(sites, [*sites[1:], sites[0]], strict=True):
            site.next = following.url
        begun = anyio.current_time()
        async with httpx.AsyncClient(timeout=30.0) as client:
            read = await crawl(client, sites[0].url)
        print(f"{len(read)} pages in {anyio.current_time() - begun:.1f} s, {len(set(read))} of them different")
        for number, site in enumerate(sites, 1):
            last = max(place for place, url in enumerate(read, 1) if url.startswith(site.url))
            print(
                f"host {number}: {site.requests} requests, at most {site.most} connections at a time, "
                f"its last page was number {last}"
            )


if __name__ == "__main__":
    anyio.run(main)  # or backend="trio"
