"""Generates the tables and figures of docs/results from the committed records.

    python -m experiments.reproduce [NAME ...] [--records=DIR] [--out=DIR]

Without NAME it generates all of them. It only reads text files and needs no TensorFlow,
data set or accelerator. The same records give the same files, byte for byte; figures
need the same version of matplotlib for this. A page without any record is left out.
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
    """A function that makes a page without drawings from a folder of the records."""

    def make(records):
        page = text(records / folder)
        return page and Result(name, page)

    return make


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
    """The texts of the files of a result, by file name; empty without records.

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
    """The last line of a drawing: its bytes depend on the version of matplotlib."""
    import matplotlib

    return f"<!-- matplotlib {matplotlib.__version__} -->\n"


def _remove(out, name):
    """Deletes the files of a result that were written from earlier records."""
    for path in (
        out / f"{name}.md",
        *out.glob(f"{name}.svg"),
        *out.glob(f"{name}-*.svg"),
    ):
        path.unlink(missing_ok=True)


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description="Generates the tables and figures of docs/results from the "
        "committed records. A page without any record is left out.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"result to generate (default: all of {', '.join(MAKERS)})",
    )
    for option, default, what in (
        ("--records", RECORDS, "of the records to read"),
        ("--out", OUTPUT, "to write the pages and figures to"),
    ):
        parser.add_argument(
            option,
            type=pathlib.Path,
            metavar="DIR",
            default=default,
            help=f"folder {what} (default: %(default)s)",
        )
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in MAKERS]
    if unknown:
        sys.exit(
            f"error: there is no result named {', '.join(unknown)}. Choose from "
            f"{', '.join(MAKERS)}."
        )
    if not arguments.records.is_dir():
        sys.exit(
            f"error: there is no folder of records '{arguments.records}'. Give an "
            "existing folder with --records=DIR."
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MAKERS:
        made = files(name, arguments.records)
        if not made:
            _remove(arguments.out, name)
            print(f"{name}: left out, it has no record yet")
            continue
        for file, text in made.items():
            (arguments.out / file).write_text(text, encoding="utf-8")
        print(f"{name}: {', '.join(str(arguments.out / file) for file in made)}")


if __name__ == "__main__":
    main(sys.argv[1:])
