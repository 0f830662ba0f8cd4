"""Writes tables and figures from the records: all of them, or those named.

    python -m experiments.reproduce [NAME ...] [--records=DIR] [--out=DIR]

Reads text only: no TensorFlow, no data, no accelerator. The same records give the same
files, to the last byte; drawings, with the same matplotlib.
"""

import argparse
import pathlib
import sys

from experiments.bench import page as bench_page
from experiments.claims import controls, overview
from experiments.pages import model_cards, records_page
from experiments.pages.results import OUTPUT, RECORDS, Result
from experiments.paper import (
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    table1,
    table2,
    table3,
)
from experiments.pipeline import page as pipeline_page
from experiments.removal_study import defaults_page, retraining_page
from experiments.removal_study import page as removal_page
from experiments.torture import page as torture_page
from experiments.zoo import page as zoo_page


def _page(name, text, folder=""):
    """A maker of a page without drawings, from a part of the records."""
    return lambda records: Result(name, text(records / folder))


MAKERS = {
    "table1": table1.make,
    "table2": table2.make,
    "table3": table3.make,
    "figure3": figure3.make,
    "figure4": figure4.make,
    "figure5": figure5.make,
    "figure6": figure6.make,
    "figure7": figure7.make,
    "controls": controls.make,
    "overview": overview.make,
    "records": _page("records", records_page.records_page),
    "models": model_cards.make,
    "bench": _page("bench", bench_page.bench_page, "bench"),
    "pipeline": pipeline_page.make,
    "zoo": zoo_page.make,
    "torture": torture_page.make,
    "removal_study": removal_page.make,
    "retraining": retraining_page.make,
    "pretrained": defaults_page.make,
}


def files(name, records=RECORDS):
    """Text by file name of a result, as it is written; empty without records.

    Args:
        name: one of `MAKERS`.
        records: folder of all records.
    """
    result = MAKERS[name](records)
    return {
        file: text + _drawn_by() if file.endswith(".svg") else text
        for file, text in (result.files if result else {}).items()
    }


def _drawn_by():
    """A last line of drawings: other versions of matplotlib draw other bytes."""
    import matplotlib

    return f"<!-- matplotlib {matplotlib.__version__} -->\n"


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description="Writes tables and figures from the records.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MAKERS))
    parser.add_argument("--records", type=pathlib.Path, default=RECORDS)
    parser.add_argument("--out", type=pathlib.Path, default=OUTPUT)
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in MAKERS]
    if unknown:
        sys.exit(
            f"error: no result is named {', '.join(unknown)}. Choose from "
            f"{', '.join(MAKERS)}."
        )
    if not arguments.records.is_dir():
        sys.exit(f"error: there is no folder of records '{arguments.records}'")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MAKERS:
        made = files(name, arguments.records)
        for file, text in made.items():
            (arguments.out / file).write_text(text, encoding="utf-8")
        print(f"{name}: {', '.join(str(arguments.out / file) for file in made)}")


if __name__ == "__main__":
    main(sys.argv[1:])
