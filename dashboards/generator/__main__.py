"""``python -m dashboards.generator``: write the generated files, or with ``--check`` report whether they are stale."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dashboards.generator.docs import documentation
from glasspool._monitoring import RuleOptions, rule_files

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = Path("dashboards")
"""The directory for readers of the repository."""
ASSETS = Path("src/glasspool/assets")
"""The directory that the wheel, an editable install and the commands use, with the same files."""


def generated() -> dict[Path, str]:
    """Path below the root to content, for everything this package generates."""
    # The SDK needs a newer Python than the rules do, and importing the rules must work without it.
    from dashboards.generator.boards import build_board
    from dashboards.generator.catalogue import boards, places

    options = RuleOptions()
    lines = options.lines()
    models = {f"{board.uid}.json": build_board(board) for board in boards(lines)}
    rules = rule_files(options)
    files: dict[Path, str] = {}
    for models_at, rules_at in ((DASHBOARDS, DASHBOARDS / "rules"), (ASSETS / "dashboards", ASSETS / "rules")):
        files |= {models_at / name: text for name, text in models.items()}
        files |= {rules_at / name: text for name, text in rules.items()}
    files[ASSETS / "thresholds.json"] = json.dumps(places(lines), sort_keys=True) + "\n"
    return files | documentation(options)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 for stale files under ``--check``."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generator", description=__doc__)
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
            (out / path).write_bytes(files[path].encode())  # bytes: Windows must not translate the ends of lines
    if check and stale:
        print("run `python -m dashboards.generator` and commit the result", file=sys.stderr)
    return 1 if check and stale else 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() == text.encode()


if __name__ == "__main__":
    sys.exit(main())
