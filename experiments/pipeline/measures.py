"""What the benchmark of the input pipeline runs: wholes, growing parts, other ways.

Imports TensorFlow where it is needed, so that the page can read the names without.
"""

WHOLE = {
    "training": "training: read, shuffle, augment, batch",
    "test": "testing: read, resize, crop, batch",
}
# Each does what the one before it does, and one thing more.
PARTS = {
    "read": "read and parse records",
    "window": "draw a window",
    "decode": "decode it",
    "resize": "resize it",
    "colours": "change its colours: jitter and lighting",
    "mirror": "mirror it",
    "batch": "put images together in batches",
}
# Compared with the last part.
OTHERS = {
    "serial": "one image at a time",
    "twice": "as many images at a time as there are processors, times two",
    "autotune": "tf.data chooses how many images at a time",
    "steps": "brightness, contrast, saturation and lighting one after another",
    "late": "colours of a whole batch at a time",
    "bilinear": "bilinear resizing",
    "fast_dct": "TensorFlow's default transform of JPEGs, which is less exact",
    "uint8": "rounded and clipped to uint8",
}
MEASURES = {**WHOLE, **PARTS, **OTHERS}


def pipeline(name, split, batch_size):
    """An endless `tf.data.Dataset` of batches.

    Args:
        name: one of `MEASURES`.
        split: `StreamedSplit` to read.
        batch_size: images a batch. Of the parts but the last, a batch holds one number
            for each image instead.
    """
    import tensorflow as tf

    from resprune_tf.data.shards import read_records
    from resprune_tf.data.streamed import pipeline_options, processors

    if name == "training":
        return split.training(batch_size, 0, len(split) // batch_size)
    calls = {
        "serial": 1,
        "twice": 2 * processors(),
        "autotune": tf.data.AUTOTUNE,
    }.get(name, processors())
    function = _test if name == "test" else _ways(name)
    records = read_records(*zip(*split.shards, strict=True))
    data = tf.data.Dataset.zip(records.repeat(), tf.data.Dataset.counter())
    data = data.map(function, num_parallel_calls=calls, deterministic=True)
    data = data.batch(batch_size, drop_remainder=True)
    if name == "late":
        data = data.map(_colours_of_batch, num_parallel_calls=calls)
    options = pipeline_options()
    options.autotune.enabled = name == "autotune"
    return data.prefetch(2).with_options(options)


def _test(record, place):
    from resprune_tf.data.imagenet_augment import test_image
    from resprune_tf.data.streamed import parse_record

    return test_image(parse_record(record)[0])


def _ways(name):
    """The training augmentation, cut short after a part or done in another way."""
    import tensorflow as tf

    from resprune_tf.data import imagenet_augment
    from resprune_tf.data.imagenet_augment import SIZE
    from resprune_tf.data.streamed import parse_record

    method = "bilinear" if name == "bilinear" else "bicubic"
    transform = "" if name == "fast_dct" else imagenet_augment.DCT
    change = {"steps": _colours_in_steps, "late": lambda image, key: image}.get(
        name, imagenet_augment.change_colours
    )

    def function(record, place):
        jpeg, _ = parse_record(record)
        if name == "read":
            return tf.strings.length(jpeg)
        key = imagenet_augment.image_key(0, 0, place)
        for_window, for_colour, for_flip = tf.unstack(tf.random.split(key, 3))
        size = tf.unstack(tf.io.extract_jpeg_shape(jpeg)[:2])
        window = imagenet_augment.crop_window(*size, for_window)
        if name == "window":
            return window[0]
        image = tf.io.decode_and_crop_jpeg(jpeg, window, 3, dct_method=transform)
        if name == "decode":
            return image[0, 0, 0]
        image = tf.image.resize(image, [SIZE, SIZE], method)
        if name == "resize":
            return image[0, 0, 0]
        image = change(image, for_colour)
        if name == "colours":
            return image[0, 0, 0]
        mirrored = tf.random.stateless_uniform([], for_flip) < 0.5
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        if name == "mirror":
            return image[0, 0, 0]
        if name == "uint8":
            image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return image

    return function


def _colours_in_steps(image, key):
    """As many passes over the image as the recipe has steps."""
    import tensorflow as tf

    def grey(image):
        return tf.reduce_sum(image * [0.299, 0.587, 0.114], -1, keepdims=True)

    b, c, s, *noise = tf.unstack(tf.random.stateless_uniform([6], key, 0.6, 1.4))
    image = b * image
    image = c * image + (1 - c) * tf.reduce_mean(grey(image))
    image = s * image + (1 - s) * grey(image)
    return image + noise


def _colours_of_batch(images):
    """One affine map an image, all of them in one multiplication."""
    import tensorflow as tf

    shape = tf.shape(images)
    matrices = tf.random.stateless_uniform([shape[0], 3, 3], [0, 0])
    pixels = tf.reshape(images, [shape[0], -1, 3])
    shift = tf.reduce_mean(pixels, 1, keepdims=True)
    return tf.reshape(pixels @ matrices + shift, shape)
