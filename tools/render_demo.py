"""Draw the picture of the live view in the README from a real run: ``python tools/render_demo.py [FILE]``.

It runs the demo for some seconds without a terminal, and exports the picture of a busy moment.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from glasspool.demo import Options, Scene, run
from glasspool.demo.live import Picture
from glasspool.demo.plain import repeated

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 112
SECONDS = 20.0
AT = 15.8  # in a slow spell of the service


@contextmanager
def camera(scene: Scene, path: Path) -> Iterator[None]:
    """Draw the picture four times a second, as on a terminal, and keep the one of the right moment."""
    picture = Picture(scene, WIDTH)
    taken = False

    def draw() -> None:
        nonlocal taken
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
        console.print(picture.draw())
        if scene.elapsed > AT and not taken:
            taken = True
            path.parent.mkdir(parents=True, exist_ok=True)
            console.save_svg(str(path), title="glasspool demo", unique_id="glasspool-demo")

    with repeated(draw, 0.25):
        yield


def main() -> None:
    """Run the demo, draw the picture, print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "docs" / "images" / "demo.svg")
    path = parser.parse_args().file
    summary = run(Options(seconds=SECONDS), lambda scene: camera(scene, path))
    print("\n".join(summary.lines()))
    print(f"written: {path}")


if __name__ == "__main__":
    main()
