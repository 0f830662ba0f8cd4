"""Runs the code of docs/tutorial.md and updates its outputs, figures and notebook.

    python -m experiments.tutorial                  about ten minutes on two cores
    python -m experiments.tutorial --data_dir=DATA  with the CIFAR-10 of a folder
    python -m experiments.tutorial --small          one epoch per training
    python -m experiments.tutorial --notebook       no training, only the notebook

The blocks of Python run one after another, in one namespace and an empty folder. The
output of a block replaces the text block after it, and the figures that it saves go to
docs/tutorial. docs/tutorial.ipynb has the same cells. Nothing is written with --small,
or if CIFAR-10 was not found and the code ran on the digits.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import tempfile

from experiments.pages.results import ROOT, parser_of, signed
from experiments.running.quiet import quiet_start

PAGE = ROOT / "docs" / "tutorial.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")
_SMALL = {"IMAGES": 200, "EPOCHS": 1, "RETRAINED": 1, "SCORED": 100, "TARGET": 0.85}
_BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Cell:
    """Markdown, or code with its output."""

    source: str
    is_code: bool = False
    printed: str = ""


def cells_of_page(page):
    """The cells of a page: the blocks of Python and the text between them."""
    cells, end = [], 0
    for match in _BLOCK.finditer(page):
        cells.append(Cell(page[end : match.start()]))
        cells.append(Cell(match[1], True, match[2] or ""))
        end = match.end()
    return [each for each in (*cells, Cell(page[end:])) if each.source.strip()]


def page_of(cells):
    """The Markdown of cells."""
    return "".join(map(_markdown, cells))


def _markdown(cell):
    if not cell.is_code:
        return cell.source
    printed = f"\n```text\n{cell.printed}```\n" if cell.printed else ""
    return f"```python\n{cell.source}```\n{printed}"


def notebook_of(cells):
    """The notebook of cells, as the text of a file (nbformat 4.5)."""
    content = {
        "cells": [_notebook_cell(number, cell) for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _notebook_cell(number, cell):
    kind = "code" if cell.is_code else "markdown"
    source = cell.source.strip("\n").splitlines(keepends=True)
    made = {"cell_type": kind, "id": f"{kind}-{number}", "metadata": {}}
    if cell.is_code:
        text = cell.printed.splitlines(keepends=True)
        stream = {"name": "stdout", "output_type": "stream", "text": text}
        made |= {"execution_count": None, "outputs": [stream] if text else []}
    return made | {"source": source}


def run(cells, folder, small=False, data_dir=None):
    """Runs cells one after another and prints their outputs.

    Args:
        cells: list of `Cell`.
        folder: working directory of the code; files that it writes stay there.
        small: whether to train for one epoch on few images and remove few units.
        data_dir: folder of CIFAR-10; None for that of tensorflow_datasets.

    Returns:
        `(cells, namespace)`: the cells with their new outputs, and their variables.
    """
    # Keras looks up the class `Block` by the name of its module.
    namespace = {"__name__": "tutorial"}
    changes = dict(_SMALL) if small else {}
    if data_dir is not None:
        changes["DATA_DIR"] = repr(os.path.abspath(data_dir))
    with contextlib.chdir(folder):
        return [
            _run(cell, namespace, changes) if cell.is_code else cell for cell in cells
        ], namespace


def _run(cell, namespace, changes):
    code = cell.source
    for name, value in changes.items():
        line = f"{name} = {value}"
        code = re.sub(rf"^{name} = \S+", lambda _, line=line: line, code, flags=re.M)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/tutorial.md", "exec"), namespace)
    text = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
    print(text, end="", flush=True)
    return dataclasses.replace(cell, printed=text)


def main(argv=None):
    parser = parser_of("python -m experiments.tutorial", __doc__)
    parser.add_argument("--data_dir", help="folder of CIFAR-10, see BUILD.md")
    parser.add_argument(
        "--small", action="store_true", help="only check that the code runs"
    )
    parser.add_argument(
        "--notebook", action="store_true", help="only write the notebook"
    )
    options = parser.parse_args(argv)
    if options.data_dir is not None and not os.path.isdir(options.data_dir):
        parser.error(f"There is no folder --data_dir={options.data_dir}.")
    page = PAGE.read_text(encoding="utf-8")
    if options.notebook:
        _write(page)
        return
    with quiet_start():
        import resprune_tf

        resprune_tf.make_repeatable()
        from resprune_tf.runs.environment import environment
    with tempfile.TemporaryDirectory() as folder:
        cells, names = run(cells_of_page(page), folder, options.small, options.data_dir)
        if options.small:
            print("docs/tutorial.md runs; nothing was written.")
            return
        if names["data"].name != "cifar10":
            print(
                "CIFAR-10 was not found, so the code ran on the digits and nothing was "
                "written. Give its folder with --data_dir."
            )
            return
        pictures = PAGE.with_suffix("")
        pictures.mkdir(exist_ok=True)
        for path in sorted(pathlib.Path(folder).glob("*.svg")):
            shutil.copy(path, pictures / path.name)
    _write(signed(page_of(cells), "make tutorial", environment()))


def _write(page):
    PAGE.write_text(page, encoding="utf-8")
    NOTEBOOK.write_text(notebook_of(cells_of_page(page)), encoding="utf-8")
    print(f"written: {os.path.relpath(PAGE)}, {os.path.relpath(NOTEBOOK)}")


if __name__ == "__main__":
    main()
