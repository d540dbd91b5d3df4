"""The page in a real Chromium: what it says against ``stats()``, what it shows when something is wrong, and how it
stays right when names are hostile, executors are many, and the program goes away and comes back."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glasspool.telemetry.catalog import OTHER
from tests.programs import Program

from .busy_program import HOSTILE
from .support import executor_in, found_json

sync_api: Any = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install --group look"
)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's package, or set CHROMIUM to its path"),
    pytest.mark.skipif(sys.platform == "win32", reason="the program is controlled by lines on its stdin"),
]

PROGRAM = str(Path(__file__).with_name("busy_program.py"))
SECONDS = 60_000  # of a wait in the browser, in milliseconds: the machine may be busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"], chromium_sandbox=False)
        yield made
        made.close()


class Seen:
    """A page that has collected what went wrong on it. It may ask for nothing from elsewhere."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.wrong: list[str] = []
        self.asked: set[str] = set()
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.add(request.url))

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open(self, port: int, view: str = "") -> Any:
        self.page.goto(f"http://127.0.0.1:{port}/{view}")
        return self.page

    def row(self, name: str) -> list[str]:
        """The cells of the executor's row, the words below it last, if there are any."""
        row = self.page.locator("tr", has=self.page.locator("th a", has_text=name)).first
        return [text.strip() for text in row.locator("th, td").all_inner_texts()]


class Busy(Program):
    """The busy program, when it is ready."""

    def __init__(self, port: int = 0, more: int = 0) -> None:
        super().__init__(PROGRAM, str(port), str(more), PYTHONPATH=os.pathsep.join(sys.path))
        self.answers = 0

    @property
    def port(self) -> int:
        self.until_said("ready")
        return int(self.out.split("ready ")[1].split()[0])

    def ask(self, line: str) -> dict[str, dict[str, int]]:
        """Tell it this and wait for what ``stats()`` says afterwards."""
        self.tell(line)
        self.answers += 1
        self.until(lambda: self.out.count("\n") > self.answers, "an answer")
        found: dict[str, dict[str, int]] = json.loads(self.out.splitlines()[self.answers])
        return found


@pytest.fixture
def busy() -> Iterator[Busy]:
    with Busy() as program:
        yield program
        program.process.terminate()


@pytest.fixture
def seen(browser: Any) -> Iterator[Seen]:
    with Seen(browser) as found:
        yield found
        assert found.wrong == []


def test_its_numbers_are_those_of_stats_while_work_runs_and_after(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port)
    page.wait_for_selector("tr.said")
    before = busy.ask("stats")["mail"]
    page.wait_for_timeout(3000)  # two looks
    shown = number(seen.row("mail")[7])
    after = busy.ask("stats")["mail"]
    ended = [sum(each[key] for key in ("succeeded", "failed", "timed_out", "cancelled")) for each in (before, after)]
    assert ended[0] <= shown <= ended[1]
    assert seen.row("reports")[1].startswith("4 of 4")
    assert seen.row("reports")[2].startswith("5 of 16")
    stats = busy.ask("rest")["mail"]
    page.wait_for_timeout(4000)
    cells = seen.row("mail")
    assert cells[1].startswith(f"{stats['slots_used']} of 8")
    assert cells[2].startswith(f"{stats['queued']} of 40")
    stats = busy.ask("stats")["mail"]
    assert number(cells[7]) == sum(stats[key] for key in ("succeeded", "failed", "timed_out", "cancelled"))
    page.goto(f"http://127.0.0.1:{busy.port}/#/executor/0/hybrid/mail")
    page.wait_for_selector("figure")
    facts = dict(zip(page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts(), strict=True))
    for fact, key in (("succeeded in all", "succeeded"), ("errors in all", "failed"), ("timeouts in all", "timed_out")):
        assert int(facts[fact].replace(",", "")) == stats[key], fact
    assert all(url.startswith(f"http://127.0.0.1:{busy.port}/") for url in seen.asked)


def number(cell: str) -> int:
    """How many in all, as a cell says it below the rate."""
    return int(cell.split("\n")[1].split()[0].replace(",", ""))


def test_a_blocked_loop_is_shown_as_blocked_while_it_is_blocked(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port)
    page.wait_for_selector("text=on time")
    busy.tell("block 6")
    page.wait_for_selector("a.warning:has-text('loop blocked for')")
    said = page.locator("a.warning", has_text="loop blocked for").first
    assert said.get_attribute("href").endswith("/runbooks/event-loop-blocked.md")
    page.wait_for_selector("a.note:has-text('loop was blocked for')")
    assert page.locator("a.warning", has_text="loop blocked for").count() == 0


def test_what_is_wrong_is_said_in_words(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port)
    page.wait_for_selector("a.warning:has-text('1 thread abandoned')")
    page.wait_for_selector("a.warning:has-text('full for')")
    page.wait_for_selector("a.warning:has-text('nothing has started for')")
    names = page.locator("tbody th a").all_inner_texts()
    assert names[-1] in (HOSTILE, "thumbnails")  # those that are not pressed come last
    assert page.locator("#said").inner_text() != ""  # for those who listen


def test_a_hostile_name_is_shown_as_it_is(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port)
    page.wait_for_selector(f"th a:has-text('{HOSTILE}')")
    page.locator("th a", has_text=HOSTILE).click()
    page.wait_for_selector("h2")
    assert HOSTILE in page.locator("h2").first.inner_text()
    page.goto(f"http://127.0.0.1:{busy.port}/#/tasks")
    page.wait_for_selector(f"tbody th:has-text('{HOSTILE}')")
    assert page.locator("img").count() == 0


def test_the_stack_of_a_stuck_thread_is_found_by_keyboard_and_stays_open(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port, "#/tasks")
    # Mails that were there before the reports are older; they end soon.
    page.wait_for_selector("tbody tr:first-of-type details summary:has-text('read_pages busy_program.py:')")
    page.locator("details summary").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(4000)  # drawn anew, more than once
    assert page.locator("details[open]").count() == 1
    assert "parse_report" in page.locator("details[open]").inner_text()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_a_reload_keeps_what_is_looked_at(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port)
    page.locator("th a", has_text="reports").click()
    page.wait_for_selector("h2:has-text('reports')")
    page.reload()
    page.wait_for_selector("h2:has-text('reports')")
    page.wait_for_selector("figure svg[role=img]")
    page.get_by_text("Its tasks and where they are").click()
    page.wait_for_selector("h2:has-text('The oldest tasks of reports')")
    assert set(page.locator("tbody td[data-label=executor] a").all_inner_texts()) == {"reports"}


def test_it_says_when_the_program_is_away_and_goes_on_when_it_is_back(browser: Any) -> None:
    with Seen(browser) as seen:
        with Busy() as program:
            port = program.port
            page = seen.open(port)
            page.wait_for_selector("tr.said")
            program.process.kill()
            page.wait_for_selector("#state.away")
            assert "The program does not answer since" in page.locator("#state").inner_text()
            assert page.locator("tbody tr").count() > 0  # what was last seen is still there
        with Busy(port) as program:
            assert program.port == port
            page.wait_for_selector("#state:not(.away)")
            page.wait_for_selector("a.warning:has-text('1 thread abandoned')")
            program.process.terminate()
        # The browser itself logs each connection that fails.
        assert [said for said in seen.wrong if "ERR_CONNECTION" not in said and "ERR_EMPTY" not in said] == []


def test_two_hundred_executors_are_shown(browser: Any) -> None:
    with Busy(more=196) as program, Seen(browser) as seen:
        page = seen.open(program.port)
        page.wait_for_selector("tbody th a")
        names = page.locator("tbody th a").all_inner_texts()
        shown = [name for name in names if name != OTHER]  # which is there once the process has no room for a series
        assert len(shown) == len(set(shown)) == 200
        assert {f"shard {index}" for index in range(196)} < set(shown)
        took = page.evaluate("""async () => {
            const found = await (await fetch("live.json")).json(), before = performance.now();
            draw(found, asked());
            return performance.now() - before;
        }""")
        assert took < 10_000  # milliseconds, on a machine that other tests keep busy
        assert seen.wrong == []
        program.process.terminate()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_systems_colours_and_can_be_read_on_a_phone(busy: Busy, browser: Any, scheme: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with Seen(browser, **phone) as seen:
        page = seen.open(busy.port)
        page.wait_for_selector("tr.said")
        for view in ("#/", "#/tasks", "#/executor/0/hybrid/mail"):
            page.goto(f"http://127.0.0.1:{busy.port}/{view}")
            page.wait_for_timeout(2500)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        back, text = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (brightness(back) > brightness(text)) is (scheme == "light")
        assert seen.wrong == []


def brightness(color: str) -> int:
    """The sum of the parts of ``rgb(r, g, b)``."""
    return sum(map(int, color.removeprefix("rgb(").rstrip(")").split(",")))


def test_everything_can_be_reached_by_keyboard(busy: Busy, seen: Seen) -> None:
    page = seen.open(busy.port)
    page.wait_for_selector("tr.said")
    page.evaluate("document.body.focus()")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert reached[:3] == ["Skip to the figures", "Overview", "Tasks"]
    assert "mail" in reached
    assert any(text.startswith("full for") for text in reached) or any("abandoned" in text for text in reached)


def test_the_endpoint_that_the_page_reads_is_the_documented_one(busy: Busy) -> None:
    found = found_json(busy.port, "/live.json")
    assert executor_in(found, "mail")["slots"]["limit"] == 8
    with socket.socket() as probe:  # and it is on loopback only
        probe.settimeout(5)
        with pytest.raises(OSError):
            probe.connect((socket.gethostbyname(socket.gethostname()), busy.port))
            if probe.getpeername()[0].startswith("127."):
                raise OSError("this machine's name is loopback")
