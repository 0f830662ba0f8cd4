"""The LiteRT form of a SavedModel, written by TensorFlow's converter."""


def write_litert(source, path, inputs, quantise=None, calibration=None):
    """Writes a SavedModel as a LiteRT file.

    Keras has this since 3.13 as `model.export(format="litert")`, which converts its own
    SavedModel at every call.

    Args:
        source: path of a SavedModel.
        path: `pathlib.Path` of the file.
        inputs: names of the inputs, in the order of `calibration`.
        quantise: None for float32, `"float16"` or `"int8"` (weights and activations;
            inputs and outputs stay float32).
        calibration: for `"int8"`, a list of inputs, each a list of arrays of one image.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
    # Operations of TensorFlow itself are not in the runtime that devices have.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantise is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantise == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantise == "int8":
        feeds = [dict(zip(inputs, x, strict=True)) for x in calibration]
        converter.representative_dataset = lambda: feeds
    path.write_bytes(converter.convert())
