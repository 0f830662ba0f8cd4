"""Converts a SavedModel to LiteRT by TensorFlow's converter."""


def write_litert(source, path, inputs, quantise=None, calibration=None):
    """Writes a SavedModel as a LiteRT file.

    `model.export(format="litert")` of Keras would write another SavedModel in every
    call.

    Args:
        source: path of a SavedModel.
        path: `pathlib.Path` of the file.
        inputs: names of the inputs, in the order of `calibration`.
        quantise: None for float32, `"float16"` for float16 weights, or `"int8"` for
            int8 weights and activations. Inputs and outputs stay float32.
        calibration: for `"int8"`, a list of inputs of one image each; an input is a
            list of arrays.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
    # The runtime on devices does not contain the operations of TensorFlow itself.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantise is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantise == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantise == "int8":
        feeds = [dict(zip(inputs, x, strict=True)) for x in calibration]
        converter.representative_dataset = lambda: feeds
    path.write_bytes(converter.convert())
