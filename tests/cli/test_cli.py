"""The command line refuses wrong use, helps, and starts without TensorFlow."""

import configparser
import importlib
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

from resprune_cli.main import COMMANDS, make_parser
from resprune_cli.options import usage, values
from resprune_cli.options.target_spelling import limits
from resprune_cli.options.usage import CRITERIA, WrongUse, as_options
from resprune_cli.work import memory
from resprune_tf.system.wording import first_line
from tests.made.cli import resprune, write_npz

ROOT = pathlib.Path(__file__).parents[2]


def write_empty(folder, *names):
    """Empty zip archives, as far as arguments are looked at before models are read."""
    for name in names:
        zipfile.ZipFile(folder / name, "w").close()


def names_of_commands():
    return [module.__name__.rpartition(".")[2].split("_")[0] for module in COMMANDS]


@pytest.mark.parametrize("command", names_of_commands())
def test_help_explains_and_shows_examples(command, capsys):
    code, out, _ = resprune(capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"usage: resprune {command} ")
    assert out.count(f"    resprune {command} ") >= 2


def test_every_example_of_the_help_is_understood(capsys, tmp_path, monkeypatch):
    """As far as arguments go; their files are made for the occasion."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "run.json").write_text("{}")
    (tmp_path / "photos").mkdir()
    (tmp_path / "deploy").mkdir()
    write_empty(tmp_path, "model.keras", "small/pruned.keras")
    write_npz(tmp_path / "images.npz")
    write_empty(tmp_path, "deploy/model.tflite")
    parser = make_parser()
    shown = []
    for command in ("", *names_of_commands()):
        _, out, _ = resprune(capsys, *command.split(), "--help")
        shown += [
            line.split()[1:]
            for line in out.splitlines()
            if line.startswith("  ") and line.split()[:1] == ["resprune"]
        ]
    assert len(shown) >= 14
    for argv in shown:
        args = parser.parse_args(argv)
        if args.command == "prune":
            args.out = tmp_path / "new"  # the other examples read what it writes
        args.check(args)


def test_it_starts_without_keras():
    code = (
        "import resprune_cli.main, sys; "
        "resprune_cli.main.make_parser(); "
        "sys.exit(bool({'keras', 'tensorflow', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_output_may_have_any_encoding():
    ran = subprocess.run(
        [sys.executable, "-m", "resprune_cli", "prune", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert rb"\u03c9" in ran.stdout  # ω


def test_the_installed_command_is_main():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    script = config["options.entry_points"]["console_scripts"]
    name, _, place = script.strip().partition(" = ")
    module, _, function = place.partition(":")
    assert name == "resprune"
    assert getattr(importlib.import_module(module), function).__doc__
    package = module.partition(".")[0]
    assert f"{package}*" in config["options.packages.find"]["include"].split()


def test_choices_are_those_of_the_library():
    from resprune_tf import criteria
    from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS

    assert usage.FORMATS == tuple(FORMATS)
    assert usage.RUNTIMES == tuple(RUNTIME_FORMATS)
    assert CRITERIA == tuple(criteria.NAMES)


@pytest.mark.parametrize(
    "texts, found",
    [
        (["layers=32", "units=10"], {"layers": 32, "units": 10}),
        (["macs=0.6"], {"macs": 0.6}),
        (["macs=60%"], {"macs": 0.6}),
        (["macs=1.5M"], {"macs": 1_500_000}),
        (["macs=1500000"], {"macs": 1_500_000}),
        (["flops=3M"], {"macs": 1_500_000}),  # two of them in a multiply-accumulate
        (["flops=3000000"], {"macs": 1_500_000}),
        (["flops=60%"], {"macs": 0.6}),
        (["parameters=300k"], {"parameters": 300_000}),
        (["size=2MB"], {"file_bytes": 2_000_000}),
        (["size=0.5"], {"file_ratio": 0.5}),
        (["latency=5ms"], {"latency_ms": 5}),
        (["latency=70%"], {"latency_ratio": 0.7}),
    ],
)
def test_targets(texts, found):
    assert limits(texts) == found


@pytest.mark.parametrize(
    "text, message",
    [
        ("depth=3", "Known targets: layers=32; units=10; macs="),
        ("macs", "Write macs=0.6, macs=60% or macs=50M"),
        ("layers=0.5", "Write layers=32"),
        ("macs=120%", "below 100%"),
        ("macs=0", "Write macs="),
        ("size=200", "Write size=0.6, size=60% or size=2MB"),
        ("latency=5s", "Write latency=0.7"),
    ],
)
def test_wrong_targets_say_how_they_are_spelled(text, message):
    with pytest.raises(WrongUse, match=message):
        limits([text])


def test_without_a_command_there_is_help(capsys):
    code, out, err = resprune(capsys)
    assert (code, err) == (0, "")
    assert out.startswith("usage: resprune COMMAND") and "benchmark" in out


def test_formats_and_runtimes_have_other_names(tmp_path):
    write_empty(tmp_path, "model.keras")
    net, parser = str(tmp_path / "model.keras"), make_parser()
    args = parser.parse_args(["export", net, "--formats", "tflite,int8", "--out", "x"])
    assert args.formats == ["litert", "litert_int8"]
    args = parser.parse_args(["compare", net, net, "--runtime", "int8"])
    assert args.runtime == "litert_int8"


def test_a_target_is_given_once():
    with pytest.raises(WrongUse, match="macs is given twice"):
        limits(["macs=0.5", "macs=0.6"])


PRUNE = "prune model.keras --out out"


@pytest.mark.parametrize(
    "line, message",
    [
        ("shrink model.keras", "invalid choice: 'shrink'"),
        ("inspect none.keras", "there is no file 'none.keras'"),
        ("inspect net.h5", "'net.h5' is damaged or incomplete: it is not an HDF5 file"),
        ("inspect net.weights.h5", "assigned by the order of the layers"),
        ("inspect net.txt", "is not a model file. Give a .keras file"),
        ("benchmark net.txt", "is not a model file. Give a .keras file"),
        (
            "benchmark net.onnx --runtime int8",
            "Leave --runtime out: the runtime of this file is",
        ),
        ("benchmark net.onnx --loss mse", "need --data"),
        (f"{PRUNE} --data digits --target flops=9M --target macs=9M", "limit the same"),
        ("inspect broken.keras", "'broken.keras' is damaged or incomplete"),
        ("compare model.keras broken.keras", "'broken.keras' is damaged or incomplete"),
        (
            "scores model.keras --data broken.npz",
            "--data 'broken.npz' is damaged or incomplete",
        ),
        (
            "export model.keras --formats onnx --out file",
            "'file' is a file, not a folder",
        ),
        (
            "export model.keras --formats , --out out",
            "No format is named. Known: saved",
        ),
        ("inspect model.keras --scores", "--scores needs --data"),
        ("inspect model.keras --data digits", "needs --scores"),
        ("inspect model.keras --picture a.jpg", "must end in .svg, .png or .pdf"),
        (
            "inspect model.keras --pictur a.png",
            "unrecognized arguments: --pictur a.png. Did you mean --picture instead of",
        ),
        (f"{PRUNE} --data digits --epochs -3", "'-3' is not an integer >= 0"),
        *(
            (
                f"scores model.keras --data digits --seed {seed}",
                f"'{seed}' is not an int",
            )
            for seed in (-1, 2**32, 0.5, "one")
        ),
        ("scores model.keras", "arguments are required: --data"),
        ("scores model.keras --data x.npz", "There is no file --data 'x.npz'"),
        ("scores model.keras --data mnist", "is neither a folder nor an .npz file"),
        ("scores model.keras --data mnist --data-dir x", "no folder --data-dir 'x'"),
        ("scores model.keras --data digits --criteria size", "no criterion 'size'"),
        (f"{PRUNE} --data digits", "extent of pruning"),
        (f"{PRUNE} --target macs=0.5", "--data is missing: retraining needs it"),
        (f"{PRUNE} --epochs 0 --data digits", "--epochs 0 needs a --target"),
        (f"{PRUNE} --epochs 0 --target macs=0.5", "units are scored on examples"),
        (f"{PRUNE} --data digits --target latency=0.5", "--runtime tensorflow|litert"),
        (
            f"{PRUNE} --data digits --target macs=0.5 --runtime litert",
            "--runtime needs",
        ),
        *(
            (f"{PRUNE} --data digits --target {target} {options}", message)
            for target, options, message in (
                ("macs=0.5", "--latency-command true", "needs --target latency=..."),
                (
                    "latency=0.5 --runtime litert",
                    "--latency-command true --threads 2",
                    "--runtime-batch and --threads apply to this processor",
                ),
                ("latency=5ms", "--latency-command true", "needs the runtime"),
                ("latency=5ms", "--latency-command ./none.sh", "'./none.sh' does not"),
                ("latency=5ms", "--latency-command ~/none.sh", "'~/none.sh' does not"),
            )
        ),
        (
            f"{PRUNE} --data digits --target macs=0.5 --file-format onnx",
            "needs --target size",
        ),
        (f"{PRUNE} --data digits --target macs=0.5 --epochs x", "'x' is not an int"),
        (f"{PRUNE} --data digits --target macs=0.5 --tolerance -1", "'-1' is not a n"),
        (
            f"{PRUNE} --data digits --target macs=0.5 --epochs 0 --stop-on-drop",
            "applies to retraining",
        ),
        *(
            (f"{PRUNE} --data digits --target macs=0.5 --epochs 0 {option}", message)
            for option, message in (
                ("--schedule cosine", "--schedule applies to retraining"),
                ("--units-per-round 2", "--units-per-round applies to retraining"),
                ("--learning-rate 0.1", "--learning-rate applies to retraining"),
                ("--optimizer sgd", "--optimizer applies to retraining"),
                ("--initial-epochs 0", "--initial-epochs applies to retraining"),
                ("--no-teacher", "--no-teacher applies to retraining"),
                ("--precision bfloat16", "--precision applies to retraining"),
                ("--monitor auc", "--monitor names the metric of --tolerance"),
            )
        ),
        (
            f"{PRUNE} --epochs 0 --criterion random --target units=1 --tolerance 0.1",
            "--tolerance needs --data",
        ),
        (
            "inspect model.keras --import my-layers.py",
            "is not the name of a Python module",
        ),
        ("inspect model.keras --import ./file.py", "such as mylayers for the file"),
        ("export model.keras --formats h5 --out out", "no format 'h5'"),
        ("export model.keras --formats litert_int8 --out out", "on real examples"),
        ("compare model.keras model.keras --loss mse", "need --data"),
    ],
)
def test_wrong_use_is_told_in_a_line_before_anything_is_read(
    line, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_empty(tmp_path, "model.keras", "net.h5", "net.weights.h5", "net.txt")
    write_empty(tmp_path, "net.onnx")
    for name in ("broken.keras", "broken.npz", "file"):
        (tmp_path / name).write_text("no archive")
    code, out, err = resprune(capsys, *line.split())
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_module_may_be_named_by_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mylayers.py").touch()
    assert values.module("mylayers.py") == values.module("mylayers") == "mylayers"
    assert values.module("package.py") == "package.py"  # its module `py`, perhaps


def test_a_few_macs_are_a_misspelt_share():
    with pytest.raises(WrongUse, match="means 70 macs in total. .* write macs=0.6 or"):
        limits(["macs=70"])


def test_names_may_have_blanks_between_them():
    assert values.names(" a,b , c,") == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "`units_per_round` must be from 1 to 3.",
            "--units-per-round must be from 1 to 3.",
        ),
        ("A `get_config` that fits.", "A `get_config` that fits."),
    ],
)
def test_arguments_are_called_by_their_options(text, words):
    assert as_options(ValueError(text)) == words


def test_an_error_without_a_message_is_called_by_its_type():
    assert first_line(AssertionError()) == "AssertionError"
    assert first_line(ValueError("\nBad file.\nDetails")) == "Bad file."


def test_more_data_than_the_machine_holds_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(memory, "machine_bytes", lambda: 4e9)
    memory.check_memory("small.npz", 1e6)
    assert capsys.readouterr().err == ""
    memory.check_memory("large.npz", 2e9)
    assert capsys.readouterr().err == "large.npz needs 2.0 GB of memory.\n"
    with pytest.raises(
        WrongUse, match="needs 5.0 GB of memory, but this machine has 4.0"
    ):
        memory.check_memory("huge.npz", 5e9)
    monkeypatch.setattr(memory, "machine_bytes", lambda: None)
    memory.check_memory("huge.npz", 5e9)
