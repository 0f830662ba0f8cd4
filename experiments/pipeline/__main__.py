"""Measures how many ImageNet images per second this machine prepares for training.

    python -m experiments.pipeline --data_dir=DIR

Nothing is trained. The pipelines of training and testing are measured in turns, each
from its own start. Nearly all time is spent on JPEG decoding, so the speed depends on
the size of the images. They are therefore resized to one common size first;
--longer_side=0 keeps their own sizes.
"""

import os
import pathlib
import sys
import tempfile
import time

from experiments.bench.worker import time_run
from experiments.pages import manifest
from experiments.pages.library import counted
from experiments.pages.results import RECORDS, command, machine_name, parser_of
from experiments.pipeline.page import COMMAND, PIPELINES
from experiments.running.quiet import quiet_start

_QUALITY = 95  # of resized JPEGs


def resized(split, longer_side, folder):
    """The images of a split, resized to a longer side of `longer_side` pixels.

    Args:
        split: `StreamedSplit`.
        longer_side: pixels.
        folder: folder to write the images to.

    Returns:
        `StreamedSplit`.
    """
    import tensorflow as tf

    from resprune_tf.data.shards import Shard, read_records
    from resprune_tf.data.streamed import StreamedSplit, parse_record

    path = str(pathlib.Path(folder) / "resized.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in read_records(*zip(*split.shards, strict=True)):
            jpeg, label = parse_record(record)
            image = tf.io.decode_jpeg(jpeg, channels=3)
            image = tf.image.resize(
                image,
                [longer_side, longer_side],
                "bicubic",
                preserve_aspect_ratio=True,
                antialias=True,
            )
            image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
            jpeg = tf.io.encode_jpeg(image, quality=_QUALITY).numpy()
            features = {
                "image": tf.train.Feature(bytes_list={"value": [jpeg]}),
                "label": tf.train.Feature(int64_list={"value": [int(label)]}),
            }
            example = tf.train.Example(features={"feature": features})
            writer.write(example.SerializeToString())
    return StreamedSplit((Shard(path, 0, len(split)),))


def size_of(split):
    """Number of images, and mean numbers of pixels and bytes."""
    import numpy as np
    import tensorflow as tf

    from resprune_tf.data.shards import read_records
    from resprune_tf.data.streamed import parse_record

    found = []
    for record in read_records(*zip(*split.shards, strict=True)):
        jpeg, _ = parse_record(record)
        height, width, _ = tf.io.extract_jpeg_shape(jpeg).numpy().tolist()
        found.append((height * width, len(jpeg.numpy())))
    pixels, size = np.mean(found, axis=0).tolist()
    return {"images": len(found), "mean_pixels": pixels, "mean_bytes": size}


def pipeline(name, split, batch_size):
    """An endless `tf.data.Dataset` of batches of a split, for training or testing."""
    from resprune_tf.data.imagenet_augment import test_image
    from resprune_tf.data.shards import read_records
    from resprune_tf.data.streamed import parse_record, pipeline_options
    from resprune_tf.system.memory import processors

    if name == "training":
        return split.training(batch_size, 0, len(split) // batch_size)
    return (
        read_records(*zip(*split.shards, strict=True))
        .repeat()
        .map(
            lambda record: test_image(parse_record(record)[0]),
            num_parallel_calls=processors(),
            deterministic=True,
        )
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
        .with_options(pipeline_options())
    )


def measure(name, split, batch_size, batches):
    """Time of some batches after as many to warm up; see `time_run`."""
    iterator = iter(pipeline(name, split, batch_size))

    def run():
        for _ in range(batches):
            next(iterator)

    run()
    return time_run(run, batches * batch_size)


def main(argv=None, records=RECORDS):
    parser = _parser()
    arguments = parser.parse_args(argv)
    for name in ("batch_size", "batches", "repeats", "examples"):
        if getattr(arguments, name) < 1:
            sys.exit(
                f"error: --{name} must be >= 1. Received: {getattr(arguments, name)}."
            )
    print("Starting TensorFlow ...", flush=True)
    with quiet_start():
        import keras  # noqa: F401, so that the environment names its devices
        import tensorflow  # noqa: F401

        from resprune_tf.data.imagenet_files import load_imagenet
        from resprune_tf.data.readers import DataError
        from resprune_tf.runs.environment import environment
    try:
        dataset = load_imagenet(
            arguments.data_dir, arguments.manual_dir, validation_examples=1
        )
    except DataError as error:
        sys.exit(f"error: {error}")
    facts = environment()
    name = f"{machine_name(facts)}-{arguments.longer_side or 'as-they-are'}.json"
    path = arguments.out or records / "pipeline" / name
    count = min(arguments.examples, len(dataset.train))
    split = dataset.train.part(0, count)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.longer_side:
            print(f"Resizing {counted(count, 'image')} ...", flush=True)
            split = resized(split, arguments.longer_side, folder)
        record = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": command(parser, arguments, ("data_dir", "manual_dir", "out")),
            "environment": facts,
            "source": dataset.source,
            "longer_side": arguments.longer_side,
            "batch_size": arguments.batch_size,
            "batches": arguments.batches,
            **size_of(split),
            "rounds": [],
        }
        for number in range(1, arguments.repeats + 1):
            print(f"Round {number} of {arguments.repeats} ...", flush=True)
            record["rounds"].append(
                {
                    name: measure(name, split, arguments.batch_size, arguments.batches)
                    for name in PIPELINES
                }
            )
            manifest.write_record(path, record)
    print(f"{os.path.relpath(path)}: written")


def _parser():
    parser = parser_of(COMMAND, __doc__)
    add = parser.add_argument
    add("--data_dir", type=pathlib.Path, help="folder of tensorflow_datasets")
    add("--manual_dir", type=pathlib.Path, help="folder of the official archives")
    add("--out", type=pathlib.Path, help="record to write (default: records/pipeline)")
    for name, default, text in (
        ("longer_side", 500, "longer side of the resized images in pixels; 0: keep"),
        ("examples", 1000, "number of images, which are repeated"),
        ("batch_size", 64, "images per batch"),
        ("batches", 15, "timed batches per measurement"),
        ("repeats", 5, "rounds of measurements"),
    ):
        text = f"{text} (default: %(default)s)"
        add(f"--{name}", type=int, default=default, help=text)
    return parser


if __name__ == "__main__":
    main()
