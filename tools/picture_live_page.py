"""Draw the pictures of the live page for the documentation, from a program that runs: ``python -m
tools.picture_live_page [DIRECTORY]``. Look at them: they are what readers see first."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tools.look.browser import chromium

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests" / "live" / "busy_program.py"
SECONDS = 32  # of history, so that charts have something to show


def main() -> None:
    """Run the program, look at it, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=ROOT / "docs" / "images")
    directory: Path = parser.parse_args().directory
    from playwright.sync_api import sync_playwright  # here, so that its absence is reported by the import alone

    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        address = f"http://127.0.0.1:{program.stdout.readline().split()[1]}/"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False)
            draw(browser, address, directory, lambda line: print(line, file=program.stdin, flush=True))
            browser.close()
    finally:
        program.terminate()


def draw(browser: Any, address: str, directory: Path, tell: Any) -> None:
    """All pictures, in the order in which the program can show them."""
    page = browser.new_page(viewport={"width": 1280, "height": 760}, color_scheme="light")

    def picture(name: str, wait_for: str, *, whole: bool = False) -> None:
        page.wait_for_selector(wait_for)
        page.screenshot(path=directory / f"live-{name}.png", full_page=whole)

    page.goto(address)
    page.wait_for_selector("tr.said")
    time.sleep(SECONDS)
    picture("overview", "tr.said")
    page.emulate_media(color_scheme="dark")
    picture("overview-dark", "tr.said")
    page.goto(f"{address}#/executor/0/hybrid/mail")
    picture("executor", "figure")
    page.emulate_media(color_scheme="light")
    page.goto(f"{address}#/tasks")
    page.locator("details summary").first.click()
    picture("tasks", "details[open]")
    phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme="dark")
    phone.goto(address)
    phone.wait_for_selector("tr.said")
    phone.screenshot(path=directory / "live-phone.png")
    page.goto(address)
    tell("block 6")
    time.sleep(3.5)
    picture("blocked", "a.warning:has-text('loop blocked for')")


if __name__ == "__main__":
    main()
