"""The page on the command line: its help, and a session that was really run.

python -m experiments.cli_page            the page, from the committed session
python -m experiments.cli_page --record   the session anew (some minutes), and it
"""

import contextlib
import io
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

from experiments.pages.results import RECORDS, ROOT
from resprune_cli.main import COMMANDS, EXIT_CODES, main
from resprune_tf.runs.environment import environment

PAGE = ROOT / "docs" / "cli.md"
SESSION = RECORDS / "cli" / "session.json"
STEPS = (
    ("What is it made of?", "resprune inspect net.keras"),
    (
        "How much does each unit matter?",
        "resprune scores net.keras --data digits "
        "--criteria block_influence,taylor,leave_one_out",
    ),
    (
        "Shorter by about a third, retrained, at most one point of accuracy lost:",
        "resprune prune net.keras --data digits --target macs=0.7 --epochs 6 "
        "--tolerance 0.01 --out short",
    ),
    (
        "What came of it?",
        "resprune compare net.keras short/pruned.keras --data digits --runtime litert",
    ),
    (
        "Files to deploy, beside those of the whole model:",
        "resprune export short/pruned.keras --formats litert,litert_int8,onnx "
        "--data digits --beside net.keras --out deploy",
    ),
    (
        "Without retraining, in seconds:",
        "resprune prune net.keras --data digits --epochs 0 --recalibrate "
        "--target macs=0.8 --out once",
    ),
    (
        "A target that cannot be reached (exit code 1):",
        "resprune prune net.keras --data digits --epochs 0 --target macs=0.05 --out no",
    ),
)


def make_net():
    """A residual net of plain Keras layers, trained on the built-in digits."""
    import keras
    from keras import layers

    from resprune_tf import load_dataset

    keras.utils.set_random_seed(0)

    def convolution(x, width, strides=1):
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
        return layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=False)(
            x
        )

    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    for stage, width in ((1, 16), (2, 32)):
        for unit in (1, 2, 3, 4):
            strides = 2 if (stage, unit) == (2, 1) else 1
            y = convolution(convolution(x, width, strides), width)
            if strides == 2:
                x = layers.Conv2D(width, 1, strides=2)(x)
            x = layers.Add(name=f"stage{stage}_unit{unit}_add")([x, y])
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(x))
    net = keras.Model(
        image, layers.Dense(10, activation="softmax")(x), name="digits_net"
    )
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    digits = load_dataset("digits")
    net.fit(digits.train.images, digits.train.labels, epochs=15, verbose=0)
    return net


def record():
    """Runs the session; writes what every command printed, and its exit code."""
    session = []
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Importing JAX, where it is installed, has this process's notes told.
    variables.pop("TF_CPP_MIN_LOG_LEVEL", None)
    with tempfile.TemporaryDirectory() as folder:
        make_net().save(pathlib.Path(folder) / "net.keras")
        for _, command in STEPS:
            print(f"$ {command}", flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "resprune_cli", *shlex.split(command)[1:]],
                cwd=folder,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            session.append(
                {"command": command, "code": done.returncode, "output": done.stdout}
            )
    SESSION.parent.mkdir(parents=True, exist_ok=True)
    told = {"environment": environment(), "steps": session}
    SESSION.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def page():
    """The page as text."""
    session = json.loads(SESSION.read_text("utf-8"))
    steps = {step["command"]: step for step in session["steps"]}
    where = session["environment"]
    lines = [
        "# The command line",
        "",
        "<!-- Made by `python -m experiments.cli_page`; see there. -->",
        "",
        "For people who have a `.keras` file, data and a budget, and write no Python. "
        "Installing the package puts `resprune` on the path.",
        "",
        _block(_help()),
        "",
        "## A session",
        "",
        "What these commands printed, on a machine of "
        f"{where['cores']} cores ({where['cpu']}; Python {where['python']}, "
        f"TensorFlow {where['tensorflow']}, Keras {where['keras']}). `net.keras` is a "
        "net of plain Keras layers, which `experiments/cli_page.py` trains on the "
        "built-in digits.",
    ]
    for purpose, command in STEPS:
        step = steps[command]
        lines += ["", purpose, "", _block(f"$ {command}\n{step['output']}")]
    lines += ["", "## The commands"]
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].removesuffix("_command")
        lines += ["", f"### {name}", "", _block(_help(name))]
    lines += [
        "",
        "## Data",
        "",
        "- An `.npz` file, read without unpickling: `x` and `y` (or `X` and `Y`), or "
        "`images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test`; if you "
        "like, `x_val` and `y_val`. Labels are numbers of classes, one-hot rows, or "
        "whatever the loss takes.",
        "- A folder of images by class, `photos/cat/1.jpg`, or such folders in "
        "`train`, `validation` (or `val`) and `test`. Classes are numbered in the "
        "order of their names. Images are resized to what the model takes.",
        "- `digits`, and with `--data-dir` what tensorflow_datasets has prepared "
        "there.",
        "",
        "What is used is held in memory, pixels in a byte each unless `--pixels` makes "
        "them 4. From a gigabyte on it is said before it is read how much that is; "
        "more than the machine has is refused. `--examples` takes a random part; of a "
        "folder of images the others are not even read. Validation examples choose "
        "the model. Without any, a tenth of the training examples is "
        "held out by `--seed`, in the proportions of the classes where labels are "
        "whole numbers or one-hot rows, and at random where they are other numbers, as "
        "of a regression. Test examples are only measured.",
        "",
        "## The report",
        "",
        "`prune` ends with `report.html` in its folder, one file that needs no other. "
        "It begins with the result in one sentence; then follow accuracy (or what "
        "--monitor names) against MACs and against the latency where that was "
        "measured, the files, the rounds, and each unit with its scores. `resprune "
        "report DIR` writes it again, also for a run that is not finished. Where "
        "accuracies are compared, so are single examples: `4 examples newly wrong, 0 "
        "newly right of 360: p = 0.13` is McNemar's exact test of the two models. A "
        "small p-value, such as p < 0.05, means that chance hardly explains the "
        "difference; a large one, that the examples are too few to show which model "
        "is more accurate.",
        "",
        "## Judged anew",
        "",
        "A run with retraining keeps every round in its folder. Repeated with another "
        "`--tolerance`, the command trains nothing again: the model is chosen anew "
        "among the rounds, and with `--stop-on-drop` more rounds follow where the new "
        "tolerance allows them, and none after the first drop counts. Whatever else "
        "differs is refused.",
        "",
        "`prune` writes over no result but that of the same command, and takes away no "
        "other file; neither it nor `export` writes over a model that it reads. It "
        "says so, with exit code 2, before it begins.",
        "",
        "## Sizes",
        "",
        "`file_bytes` are of a `.keras` file itself, which may hold the state of an "
        "optimizer. `exported_keras_bytes` are of the file that `resprune export "
        "--formats keras` writes, BatchNormalization folded and without an optimizer; "
        "`--target size=0.6` means 0.6 of that, or of another format's by "
        "`--file-format`.",
        "",
        "## Models of others",
        "",
        "A `.keras` file is opened with Keras's safe mode on. A Lambda layer, whose "
        "code lies in the file, is refused without `--allow-lambda`; layers that are "
        "neither Keras's nor ours need `--import` of the module that defines them. "
        "`.h5` and `.weights.h5` files are refused: weights are read by the order of "
        "layers, which can go wrong in a shortened net without an error. A file whose "
        "weights would take more memory than it stores and than its architecture needs "
        "is refused before it is read.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {code} | {text} |" for code, text in EXIT_CODES.items()),
    ]
    return "\n".join(lines) + "\n"


def _help(*command):
    """What `--help` prints, in lines of 80."""
    printed = io.StringIO()
    width = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*command, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if width is not None:
            os.environ["COLUMNS"] = width
    return printed.getvalue()


def _block(text):
    return f"```\n{text.strip()}\n```"


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        record()
    elif sys.argv[1:]:
        sys.exit(__doc__)
    PAGE.write_text(page(), encoding="utf-8")
    print(pathlib.Path(PAGE).relative_to(ROOT))
