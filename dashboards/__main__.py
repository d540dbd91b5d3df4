"""``python -m dashboards``: write the generated files, or with ``--check`` say whether they are stale."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from dashboards.docs import documentation
from dashboards.options import RuleOptions
from dashboards.rulefiles import rule_files

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path("src/glasspool/assets")


def generated(options: RuleOptions, traces: str) -> dict[Path, str]:
    """Path below the root to content, for everything this package generates."""
    # The SDK needs a newer Python than the rules do; a reader of the rules need not have it.
    from dashboards.boards import build_board
    from dashboards.catalogue import boards

    files = {ASSETS / "dashboards" / f"{board.uid}.json": build_board(board, traces) for board in boards()}
    files |= {ASSETS / "rules" / name: text for name, text in rule_files(options).items()}
    return files | documentation(options)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for stale files, 2 for options that cannot work."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    parser.add_argument("--out", type=Path, default=ROOT, help="write below this directory (default: this checkout)")
    parser.add_argument("--traces", default="tempo", help="trace data source: tempo or jaeger (default: tempo)")
    for field in fields(RuleOptions):
        kind = tuple_of_words if field.name == "reject_reasons" else type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, metavar="VALUE")
    chosen = vars(parser.parse_args(arguments))
    check, out, traces = chosen.pop("check"), chosen.pop("out"), chosen.pop("traces")
    try:
        files = generated(RuleOptions(**chosen), traces)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    stale = [path for path, text in files.items() if not _same(out / path, text)]
    for path in stale:
        print(f"stale: {path}" if check else f"written: {path}")
        if not check:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(files[path], encoding="utf-8")
    if check and stale:
        print("run `python -m dashboards` and commit the result", file=sys.stderr)
    return 1 if check and stale else 0


def tuple_of_words(text: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(word.strip() for word in text.split(","))


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
