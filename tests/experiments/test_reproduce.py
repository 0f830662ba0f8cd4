"""Results are written by name, and the committed ones are up to date."""

import json
import re
import shutil
import subprocess
import sys

import matplotlib
import pytest

from experiments import reproduce
from experiments.claims import overview
from experiments.pages.results import OUTPUT, ROOT
from tests.made.pages import words
from tests.made.series import chain, keep

_DRAWS = """
import json, sys
from experiments import reproduce
files = {name: reproduce.files(name) for name in reproduce.MAKERS}
frameworks = {"keras", "tensorflow", "jax"}.intersection(sys.modules)
print(json.dumps({"files": files, "frameworks": sorted(frameworks)}))
"""


@pytest.fixture(scope="module")
def drawn():
    """The files of every result, and frameworks that making them imported.

    In a process without those, and once: drawing all takes many seconds.
    """
    command = [sys.executable, "-W", "error", "-c", _DRAWS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_other_files_are_committed(drawn):
    made = {file for files in drawn["files"].values() for file in files}
    assert {path.name for path in OUTPUT.iterdir()} == made


@pytest.mark.parametrize("name", reproduce.MAKERS)
def test_the_committed_files_are_what_the_records_give(name, drawn):
    for file, text in drawn["files"][name].items():
        committed = (OUTPUT / file).read_text(encoding="utf-8")
        version = re.search(r"<!-- matplotlib (\S+) -->\n$", committed)
        if version and version[1] != matplotlib.__version__:
            # Other versions draw other bytes, of the same labels.
            assert sorted(words(committed)) == sorted(words(text)), file
        else:
            assert committed == text, f"python -m experiments.reproduce {name}"


def test_every_page_links_to_files_that_exist():
    for page in OUTPUT.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^):#]+)\)", text)
        missing = [link for link in links if not (page.parent / link).exists()]
        assert not missing, page


def test_asked_for_results_are_written(tmp_path, capsys):
    records, out = tmp_path / "records", tmp_path / "new" / "out"
    keep(records, "c10-k2", 0, chain())
    options = [f"--records={records}", f"--out={out}"]
    reproduce.main(["figure6", "table1", *options])
    assert {path.name for path in out.iterdir()} == {
        "figure6.md",
        "figure6.svg",
        "table1.md",
    }
    assert capsys.readouterr().out == (
        f"figure6: {out / 'figure6.md'}, {out / 'figure6.svg'}\n"
        f"table1: {out / 'table1.md'}\n"
    )
    reproduce.main(options)
    assert len(capsys.readouterr().out.splitlines()) == len(reproduce.MAKERS)
    # A page whose records are gone goes, too.
    shutil.rmtree(records / "cifar10")
    (out / "figure7-a-machine.svg").touch()
    reproduce.main(["figure6", "table1", "figure7", *options])
    assert capsys.readouterr().out == "".join(
        f"{name}: left out, it has no record yet\n"
        for name in ("figure6", "table1", "figure7")
    )
    left = {path.name for path in out.iterdir()}
    assert not left.intersection({"figure6.md", "figure6.svg", "table1.md"})
    assert "figure7-a-machine.svg" not in left and "README.md" in left


def test_unknown_names_are_refused_with_the_list(tmp_path):
    with pytest.raises(SystemExit, match="named table9, x. Choose from .*table1, "):
        reproduce.main(["table9", "table1", "x", f"--out={tmp_path}"])
    with pytest.raises(SystemExit, match="no folder of records 'nowhere'"):
        reproduce.main(["--records=nowhere", f"--out={tmp_path}"])
    assert not list(tmp_path.iterdir())


def test_results_need_no_tensorflow(drawn):
    assert drawn["frameworks"] == []


def test_every_page_is_listed():
    assert {*overview._PAGES, "overview"} == set(reproduce.MAKERS)
