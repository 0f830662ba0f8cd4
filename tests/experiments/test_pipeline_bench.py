"""The benchmark of the input pipeline on tiny archives, and its page."""

import json

import numpy as np
import pytest

from experiments.pipeline import __main__ as pipeline_bench
from experiments.pipeline import page as pipeline_page
from experiments.pipeline.page import COMMAND, PIPELINES
from resprune_tf.data.imagenet_files import load_imagenet
from tests.made.imagenet import TRAIN, prepare, write_archives


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    write_archives(folder / "manual")
    prepare(folder / "manual", folder, shards=2)
    return folder


def made_record():
    """100 images a measurement; the n-th takes n ms an image, two at once."""
    fast, slow = (
        {
            name: {
                "images": 100,
                "seconds": seconds * number,
                "cpu_seconds": 0.1 * number,
                "elsewhere": elsewhere,
            }
            for number, name in enumerate(PIPELINES, 1)
        }
        for seconds, elsewhere in ((0.05, 0.0), (0.1, 0.5))
    )
    return {
        "started": "2026-01-02T03:04:05+0000",
        "command": COMMAND,
        "environment": {"cpu": "A processor", "cores": 2},
        "longer_side": 500,
        "batch_size": 10,
        "batches": 10,
        "images": 1000,
        "mean_pixels": 187_500.0,
        "mean_bytes": 110_000.0,
        "rounds": [fast, slow, slow],
    }


@pytest.mark.slow
def test_benchmark(folder, tmp_path, capsys):
    sizes = "--longer_side=64 --examples=20 --batch_size=4 --batches=1 --repeats=1"
    flags = [f"--data_dir={folder}", *sizes.split()]
    pipeline_bench.main(flags, records=tmp_path)
    (path,) = (tmp_path / "pipeline").iterdir()
    assert path.stem.endswith("-64") and "written" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert record["images"] == 20 and record["mean_pixels"] <= 64 * 64
    assert record["command"] == f"{COMMAND} {sizes}"
    (measured,) = record["rounds"]
    assert list(measured) == list(PIPELINES)
    assert all(each["seconds"] > 0 for each in measured.values())
    assert "of 4; 1 rounds" in pipeline_page.make(tmp_path).text


@pytest.mark.slow
def test_benchmark_arguments(folder, tmp_path):
    with pytest.raises(SystemExit, match="--repeats must be >= 1. Received: 0"):
        pipeline_bench.main([f"--data_dir={folder}", "--repeats=0"])
    with pytest.raises(SystemExit, match="imagenet2012 was not found"):
        pipeline_bench.main([f"--data_dir={tmp_path}"])


def test_resized(folder, tmp_path):
    split = load_imagenet(folder, validation_examples=1).train
    resized = pipeline_bench.resized(split, 50, tmp_path)
    assert len(resized) == len(split) == TRAIN - 1
    for one, other in zip(split.batches(64), resized.batches(64), strict=True):
        np.testing.assert_array_equal(one[1], other[1])
    # The same smooth pictures, by way of fewer pixels.
    assert np.abs(one[0] - other[0]).mean() < 4


def test_page(tmp_path):
    (tmp_path / "pipeline").mkdir()
    path = tmp_path / "pipeline" / "machine.json"
    path.write_text(json.dumps(made_record()))
    page = pipeline_page.make(tmp_path)
    assert page.name == "pipeline" and not page.drawings
    lines = page.text.splitlines()
    # 1 ms of a processor, 0.5 ms in all; in two rounds of three twice that.
    assert (
        "| training: read, shuffle, augment, batch | 1,000 (1,000-2,000) "
        "| 1.00 (1.00-1.00) | 1,000 |" in lines
    )
    assert "other processes used 50 (0-50) % of the processors" in page.text
    assert "resized to a longer side of 500 pixels" in page.text


def test_no_record_no_page(tmp_path):
    assert pipeline_page.make(tmp_path) is None
