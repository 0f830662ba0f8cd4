"""Records with models, which nobody trained, on the digits."""

import json

import keras
from keras import layers

import resprune_tf as rp
from resprune_tf.training.trainer import evaluate
from tests.made.runs import make_final, make_rounds, write_records


def dense_net(*widths):
    """A chain of dense layers from digits to logits; always the same weights."""
    x = image = keras.Input((8, 8, 1))
    x = layers.Flatten()(x)
    for width in (*widths, 10):
        start = keras.initializers.RandomNormal(seed=width)
        x = layers.Dense(width, kernel_initializer=start)(x)
    return keras.Model(image, x)


def write_model_record(folder, selected=1):
    """Writes a finished record of two rounds with their models; returns its lines."""
    test = rp.load_dataset("digits").test
    (folder / "models").mkdir(parents=True)
    lines = make_rounds(0.5, 0.5)
    for line, net in zip(lines, (dense_net(4), dense_net()), strict=True):
        size = rp.cost(net)
        line["model"] = f"models/round-{line['round']:02}.keras"
        line["parameters"], line["macs"] = size.parameters, size.macs
        line["test_accuracy"] = evaluate(net, test)[1]
        net.save(folder / line["model"])
    data = {"name": "digits", "train": 1077, "validation": 360, "test": 360}
    recipe = {"learning_rate": 0.1, "batch_size": 64, "epochs": 2}
    run = {"dataset": data, "recipe": recipe, "seed": 3, "backend": "jax"}
    run["criterion"] = "largest"
    final = make_final(lines, selected, test_examples=360, selection_examples=360)
    environment = {"cpu": "Some CPU", "cores": 4, "devices": "1 H200"}
    write_records(folder, lines, final, run=run, environment=environment)
    (folder / "flags.txt").write_text("--dataset=digits\n--seed=3\n")
    return lines


def write_rounds(folder, lines):
    """Replaces the rounds of a record."""
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "rounds.jsonl").write_text(text)
