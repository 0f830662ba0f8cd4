"""Tiny CIFAR files for the tests of data, and comparisons of data sets."""

import numpy as np

LAYOUT = {  # folder, training files, test file, {names file: number of names}
    "cifar10": (
        "cifar-10-batches-bin",
        [f"data_batch_{batch}.bin" for batch in range(1, 6)],
        "test_batch.bin",
        {"batches.meta.txt": 10},
    ),
    "cifar100": (
        "cifar-100-binary",
        ["train.bin"],
        "test.bin",
        {"fine_label_names.txt": 100, "coarse_label_names.txt": 20},
    ),
}
NAMES = list(LAYOUT)


def write_binary(root, name):
    """A tiny data set of random pixels: 100 images for training, 20 for testing.

    Returns:
        the images and labels of the training and the test split.
    """
    folder, train_files, test_file, names_files = LAYOUT[name]
    folder = root / folder
    folder.mkdir()
    for file, count in names_files.items():
        (folder / file).write_text("".join(f"{file[0]}{i}\n" for i in range(count)))
    rng = np.random.default_rng(NAMES.index(name))
    splits = []
    for files, count in ((train_files, 100), ([test_file], 20)):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = rng.permutation(np.arange(count, dtype=np.int32) % 10)
        labels *= 11 if name == "cifar100" else 1  # up to class 99
        columns = (
            [labels[:, None]]
            if name == "cifar10"
            else [
                labels[:, None] // 5,
                labels[:, None],
            ]
        )
        planes = [images[..., channel].reshape(count, -1) for channel in range(3)]
        rows = np.concatenate([*columns, *planes], axis=1).astype(np.uint8)
        for file, part in zip(files, np.split(rows, len(files)), strict=True):
            part.tofile(folder / file)
        splits += [images, labels]
    return splits


def rows_of(*splits):
    """The set of (pixels, label) of splits."""
    return {
        (image.tobytes(), int(label))
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    }


def assert_equal(one, other):
    """Two data sets hold the same images in the same order."""
    for split in ("train", "validation", "test"):
        a, b = getattr(one, split), getattr(other, split)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
