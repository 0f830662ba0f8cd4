"""Updates the outputs in docs/cli.md from a recorded session of commands.

    python -m experiments.cli_page            from the committed session
    python -m experiments.cli_page --record   runs the session again first (minutes)

The text of the page is written by hand. A block that begins with `$ ` and one of the
commands below gets the recorded output of that command.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

from experiments.pages import manifest
from experiments.pages.results import RECORDS, ROOT, signed
from resprune_tf.runs.environment import environment

PAGE = ROOT / "docs" / "cli.md"
SESSION = RECORDS / "cli" / "session.json"
# The commands of the session. The page may show only some of them.
STEPS = (
    "resprune inspect model.keras",
    "resprune scores model.keras --data digits "
    "--criteria block_influence,taylor,leave_one_out",
    "resprune prune model.keras --data digits --target macs=0.7 --epochs 6 "
    "--tolerance 0.01 --out small",
    "resprune compare model.keras small/pruned.keras --data digits --runtime litert",
    "resprune export small/pruned.keras --formats litert,litert_int8,onnx "
    "--data digits --beside model.keras --out deploy",
    "resprune prune model.keras --data digits --epochs 0 --recalibrate "
    "--target macs=0.8 --out once",
    # This target cannot be reached: exit code 1.
    "resprune prune model.keras --data digits --epochs 0 --target macs=0.05 --out no",
)
# A block of the page that shows a command and its output.
_BLOCK = re.compile(r"^```\n\$ (.*)\n(?:.*\n)*?```$", re.MULTILINE)


def make_model():
    """A residual network of plain Keras layers, trained on the built-in digits."""
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
    outputs = layers.Dense(10, activation="softmax")(x)
    model = keras.Model(image, outputs, name="digits_model")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    digits = load_dataset("digits")
    model.fit(digits.train.images, digits.train.labels, epochs=15, verbose=0)
    return model


def record():
    """Runs the session and records the output and exit code of every command."""
    session = []
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    # An import of JAX sets this variable, which would change the output.
    variables.pop("TF_CPP_MIN_LOG_LEVEL", None)
    with tempfile.TemporaryDirectory() as folder:
        make_model().save(pathlib.Path(folder) / "model.keras")
        for command in STEPS:
            print(f"$ {command}", flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "resprune_cli", *shlex.split(command)[1:]],
                cwd=folder,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            lines = done.stdout.splitlines(keepends=True)
            # Lines of progress are left out; the page shows results.
            output = "".join(line for line in lines if not line.endswith(" ...\n"))
            session.append(
                {"command": command, "code": done.returncode, "output": output}
            )
    SESSION.parent.mkdir(parents=True, exist_ok=True)
    content = {"environment": environment(), "steps": session}
    SESSION.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    manifest.note(SESSION)


def page(text):
    """The page with the recorded outputs.

    Args:
        text: the current text of the page.

    Raises:
        KeyError: if a block shows a command that is not in the session.
    """
    session = json.loads(SESSION.read_text("utf-8"))
    outputs = {step["command"]: step["output"] for step in session["steps"]}

    def renew(match):
        return f"```\n$ {match[1]}\n{outputs[match[1]].strip()}\n```"

    made_by = "python -m experiments.cli_page --record"
    return signed(_BLOCK.sub(renew, text), made_by, session["environment"])


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        record()
    elif sys.argv[1:]:
        sys.exit(__doc__)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(pathlib.Path(PAGE).relative_to(ROOT))
