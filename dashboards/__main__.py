"""``python -m dashboards``: write the generated files, or with ``--check`` say whether they are stale."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dashboards.docs import documentation
from glasspool._monitoring import RuleOptions, rule_files

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path("src/glasspool/assets")


def generated() -> dict[Path, str]:
    """Path below the root to content, for everything this package generates."""
    # The SDK needs a newer Python than the rules do; a reader of the rules need not have it.
    from dashboards.boards import build_board
    from dashboards.catalogue import boards, places

    options = RuleOptions()
    lines = options.lines()
    files = {ASSETS / "dashboards" / f"{board.uid}.json": build_board(board) for board in boards(lines)}
    files[ASSETS / "thresholds.json"] = json.dumps(places(lines), sort_keys=True) + "\n"
    files |= {ASSETS / "rules" / name: text for name, text in rule_files(options).items()}
    return files | documentation(options)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 for stale files under ``--check``."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    parser.add_argument("--out", type=Path, default=ROOT, help="write below this directory (default: this checkout)")
    chosen = parser.parse_args(arguments)
    check, out = chosen.check, chosen.out
    files = generated()
    stale = [path for path, text in files.items() if not _same(out / path, text)]
    for path in stale:
        print(f"stale: {path}" if check else f"written: {path}")
        if not check:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(files[path], encoding="utf-8")
    if check and stale:
        print("run `python -m dashboards` and commit the result", file=sys.stderr)
    return 1 if check and stale else 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
