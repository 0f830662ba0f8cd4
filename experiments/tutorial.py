"""Runs the code of docs/tutorial.md and renews its outputs and pictures.

    python -m experiments.tutorial          a few minutes on two cores
    python -m experiments.tutorial --small  two epochs a training, nothing is written

Each block of Python is run in turn, in one namespace and an empty folder. What it says
stands in the block of text behind it; pictures that it saves go to docs/tutorial.
"""

import argparse
import contextlib
import io
import os
import pathlib
import re
import shutil
import tempfile

from experiments.pages.results import ROOT
from experiments.running.quiet import quiet_start

PAGE = ROOT / "docs" / "tutorial.md"
_SMALL = {"EPOCHS": 2, "SCORED": 100, "SMALLEST": 0.85}
_BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def run(page, folder, small=False):
    """The page with what its code prints now.

    Args:
        page: Markdown.
        folder: where the code is run; files that it writes stay there.
        small: whether to train for two epochs, and remove little.
    """
    # `Block` is looked up by the module that it says it belongs to.
    namespace = {"__name__": "tutorial"}

    def renew(match):
        code = match[1]
        if small:
            for name, value in _SMALL.items():
                code = re.sub(rf"^{name} = \S+", f"{name} = {value}", code, flags=re.M)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/tutorial.md", "exec"), namespace)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        text = f"```python\n{match[1]}```\n"
        return text + ("\n```text\n" + "\n".join(lines) + "\n```\n" if lines else "")

    with contextlib.chdir(folder):
        return _BLOCK.sub(renew, page)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tutorial",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", action="store_true", help="only see whether it runs")
    small = parser.parse_args(argv).small
    with quiet_start():
        import resprune_tf

        resprune_tf.make_repeatable()
        from resprune_tf.runs.environment import environment
    with tempfile.TemporaryDirectory() as folder:
        page = run(PAGE.read_text(encoding="utf-8"), folder, small)
        if small:
            print("docs/tutorial.md runs.")
            return
        pictures = PAGE.with_suffix("")
        pictures.mkdir(exist_ok=True)
        for path in sorted(pathlib.Path(folder).glob("*.svg")):
            shutil.copy(path, pictures / path.name)
    PAGE.write_text(_signed(page, environment()), encoding="utf-8")
    print(f"written: {os.path.relpath(PAGE)}")


def _signed(page, facts):
    """The page with a last line that says where its outputs come from."""
    page = re.sub(r"\n<sub>.*</sub>\n$", "", page)
    return (
        f"{page}\n<sub>Outputs: `make tutorial` on {facts['cpu']}, {facts['cores']} "
        f"cores; Python {facts['python']}, Keras {facts['keras']}, TensorFlow "
        f"{facts['tensorflow']}.</sub>\n"
    )


if __name__ == "__main__":
    main()
