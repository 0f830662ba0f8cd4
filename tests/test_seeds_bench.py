"""The benchmark of several seeds measures, keeps to its time, and concludes rightly."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import pytest

from experiments import seeds_numbers, seeds_page

ROOT = pathlib.Path(__file__).parent.parent
TINY = (
    "--depth=20 --width=2 --image_size=8 --batch_size=4 --steps=2 --epochs=1 "
    "--members=2 --rounds=2 --evaluate_images=4"
).split()


def bench(*flags):
    command = [sys.executable, "-m", "experiments.seeds_bench", *TINY, *flags]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_a_part_in_a_real_process(tmp_path):
    out = tmp_path / "made" / "record.json"
    done = bench("--parts=stock mask", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert "ResNet-20, width 2, 2 seeds" in done.stdout
    record = json.loads(out.read_text())
    assert record["environment"]["python"] and record["device"]
    assert record["settings"]["removed"] == 1
    part = record["parts"]["stock mask"]
    assert part["status"] == "measured" and len(part["measured"]) == 2
    first, again = part["measured"]
    assert first["units"] == 6 and first["epoch"] > 0
    assert {"compile", "evaluate_compile"} <= set(again)
    assert list(record["conclusion"]) == ["stock mask"]


def test_no_time_no_measures(tmp_path):
    out = tmp_path / "record.json"
    done = bench("--time_budget_minutes=0", f"--out={out}")
    assert done.returncode == 1 and "side by side: out of time" in done.stdout
    record = json.loads(out.read_text())
    assert {part["status"] for part in record["parts"].values()} == {"out of time"}
    assert record["conclusion"] == {}


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--depth=21", "--depth must be 9n\\+2. Received: 21"),
        ("--rounds=4", "can lose 3 units"),
        ("--parts=masks,all", "no part all; there are masks, removal"),
    ],
)
def test_senseless_flags(flag, reason):
    done = bench(flag)
    assert done.returncode == 1 and re.search(reason, done.stderr), done.stderr


def test_conclusion():
    def line(compiling, epoch):
        return {
            "compile": compiling,
            "epoch": epoch,
            "evaluate_compile": 1.0,
            "evaluate": 0.0,
            "units": 6,
        }

    record = {
        "settings": {
            "members": 3,
            "rounds": 2,
            "first_epochs": 10,
            "round_epochs": 5,
        },
        "parts": {
            name: {"status": "measured", "measured": lines}
            for name, lines in {
                "masks": [line(9, 3), line(-1.5, 3)],
                "removal": [line(9, 2), line(9, 1), line(9, 1)],
                "reuse": [line(9, 1), line(1, 1)],
                "one mask": [line(9, 2), line(0, 2)],
            }.items()
        },
    }
    assert seeds_numbers.conclusion(record) == {
        "removal": 3 * (20 + 10) + 3 * 3 * 10,
        "reuse": 3 * (20 + 10) + 3 * 10 + 2 * 3 * 2,
        "masks": 10 + 20 * 3,
        "one mask": 10 + 3 * 2 * 1 + 3 * 20 * 2,
    }


def test_the_committed_page_is_what_the_records_say():
    assert seeds_page.OUTPUT.read_text() == seeds_page.seeds_page()
