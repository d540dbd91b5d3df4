"""A Django application under ASGI: what its synchronous views are called. Run by test_vendors.py, in a process.

Prints JSON: the names of the calls in threads, and what the views answered.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from typing import Any

import django
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings

import glasspool_instrumentation as gi
from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key
from glasspool.telemetry.recording.registry import REGISTRY

settings.configure(
    DEBUG=False, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[f"{__name__}.middleware"], SECRET_KEY="test",
    LOGGING_CONFIG=None,
)  # fmt: skip
django.setup()

from django.core.handlers.asgi import ASGIHandler  # noqa: E402 - Django wants its settings first
from django.http import HttpResponse  # noqa: E402 - as above
from django.urls import path  # noqa: E402 - as above
from django.views import View  # noqa: E402 - as above
from django.views.decorators.http import require_GET  # noqa: E402 - as above


def middleware(get_response: Any) -> Any:
    def count(request: Any) -> Any:
        return get_response(request)

    return count


def report(request: Any) -> HttpResponse:
    return HttpResponse("report")


@require_GET
def lookup(request: Any) -> HttpResponse:
    return HttpResponse("lookup")


class Detail(View):
    def get(self, request: Any, number: int) -> HttpResponse:
        return HttpResponse(f"detail {number}")


async def fetch(number: int) -> int:
    await asyncio.sleep(0)
    return number


def there_and_back(request: Any) -> HttpResponse:
    return HttpResponse(f"back {async_to_sync(fetch)(7)}")


def tax(number: int, *, rate: int) -> int:
    return number * rate


class Till:
    def open(self) -> str:
        return "till"


urlpatterns = [
    path("report", report),
    path("lookup", lookup),
    path("detail/<int:number>", require_GET(Detail.as_view())),
    path("back", there_and_back),
]


async def get(url: str) -> str:
    sent: list[Any] = []
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": url, "headers": [], "query_string": b"", "http_version": "1.1"}
    await ASGIHandler()(scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent).decode()


async def main() -> None:
    answers = [await get(url) for url in ("/report", "/lookup", "/detail/5", "/back")]
    for sensitive in (True, False):
        answers.append(await sync_to_async(Till().open, thread_sensitive=sensitive)())
        answers.append(await sync_to_async(functools.partial(tax, 2), thread_sensitive=sensitive)(rate=3))
    by_executor: dict[str, set[str]] = {}
    for point in REGISTRY.collect().histograms[catalog.TASK_DURATION.name]:
        names = by_executor.setdefault(str(point.attributes[Key.EXECUTOR_TYPE]), set())
        names.add(str(point.attributes[Key.TASK_NAME]))
    print(json.dumps({"answers": answers, "names": {kind: sorted(names) for kind, names in by_executor.items()}}))


if __name__ == "__main__":
    if sys.argv[1:] == ["sentry"]:
        import sentry_sdk
        from sentry_sdk.integrations.asyncio import AsyncioIntegration
        from sentry_sdk.integrations.django import DjangoIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration

        sentry_sdk.init(
            dsn="http://a@127.0.0.1:9/1", transport=lambda _: None, traces_sample_rate=1.0,
            integrations=[DjangoIntegration(), ThreadingIntegration()], disabled_integrations=[AsyncioIntegration()],
        )  # fmt: skip
    gi.AsyncioInstrumentor().instrument(monitor=False, exclude=["BaseEventLoop.*"])
    asyncio.run(main())
