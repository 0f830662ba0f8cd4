"""Imports point downward, and the pure modules stay pure."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# A module may import those of lower rank only.
RANKS = {
    0: "absorbing architecture augment batch_norm call_names checksum cloning columns "
    "environment example_loss examples feeds fit_recipe imagenet_augment "
    "litert_form macs memory merges onnx_ops optimizers precision readers records "
    "resident runtimes selection shards solving",
    1: "checkpoint cifar_files dataset depth fit_data fresh_process graph guard "
    "onnx_form score_table solution strategy unit_table",
    2: "ancestry callbacks data distillation gates importance latency loss_check "
    "matmul_conv recalibration resizing signature streamed tracing transfer travel",
    3: "compilation cost expansion folding formats imagenet_files recipe resnet "
    "scaled_weights scoring status survey unit_search",
    4: "export fast_copy fit_training runtime_latency units",
    5: "beside diagram embedding fit_check insertion probing removal sparsity training",
    6: "members sensitivity similarity sizes stacked",
    7: "criteria rounds savings side_by_side",
    8: "comparison deletion plan preflight targets",
    9: "loop",
    10: "seeds",
}
RANK = {name: rank for rank, names in RANKS.items() for name in names.split()}
PURE = ("architecture", "environment", "records", "selection")


def imported(path):
    """Names of the modules that a file imports at its top level."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module in ("resprune_tf", "experiments"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


MODULES = sorted((ROOT / "resprune_tf").glob("[!_]*.py"))


def test_every_module_has_a_rank():
    assert {path.stem for path in MODULES} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_downward(path):
    for name in imported(path):
        top, _, module = name.partition(".")
        assert top != "experiments" and top not in ("absl", "matplotlib")
        assert top not in ("tensorflow", "tensorflow_datasets", "jax", "sklearn"), (
            f"{path.stem} must import {top} inside the functions that need it"
        )
        if top == "resprune_tf":
            assert RANK[module] < RANK[path.stem], f"{path.stem} imports {module}"
        if path.stem in PURE:
            assert top not in ("keras", "resprune_tf")


@pytest.mark.parametrize("module", ["report", "plots"])
def test_reports_need_no_tensorflow(module):
    code = (
        f"import experiments.{module}, sys; "
        "sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_library_reads_no_flags_or_environment():
    for path in MODULES:
        text = path.read_text()
        assert "os.environ" not in text or path.stem == "fresh_process", path.stem
        assert "getenv" not in text and "basicConfig" not in text, path.stem
