"""The page of what several seeds cost, as Markdown in docs/results.

    python -m experiments.seeds_page

Reads records/seeds, which `experiments.seeds_bench` makes, and writes
docs/results/seeds.md. Nothing in the output is typed by hand.
"""

import json
import pathlib

from experiments.seeds_numbers import table

ROOT = pathlib.Path(__file__).parent.parent
RECORDS = ROOT / "records" / "seeds"
OUTPUT = ROOT / "docs" / "results" / "seeds.md"

_HEAD = """# Several seeds: one after another, or side by side

Made by `python -m experiments.seeds_page` from records/seeds; do not edit. On JAX, on
images of noise, each part in a process of its own. Compiling is the first epoch less a
later one. The whole experiment is extrapolated from what was measured.

"""


def seeds_page(records=RECORDS):
    """The page as text.

    Args:
        records: folder with the records, one JSON file each.
    """
    tables = [
        f"## {path.stem}\n\n```\n{table(json.loads(path.read_text()))}\n```\n"
        for path in sorted(records.glob("*.json"))
    ]
    return _HEAD + "\n".join(tables or ["No record yet.\n"])


def main():
    OUTPUT.write_text(seeds_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
