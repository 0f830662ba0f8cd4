"""Converts a SavedModel to ONNX by tf2onnx, with an additional operation."""

import numpy as np

from resprune_tf.deploy.runtimes import sort_outputs

# These attributes prevent TensorFlow from inlining functions, and tf2onnx converts only
# inlined operations. Keras computes grouped convolutions in such functions.
_NO_INLINING = ("_XlaMustCompile", "_noinline")


def write_onnx(source, path, inputs):
    """Writes a SavedModel as an ONNX file.

    `model.export(format="onnx")` of Keras does not support grouped convolutions, adds
    an input for every constant tensor of a layer, such as the statistics of a
    `Normalization`, and names outputs `Identity:0`.

    Args:
        source: path of a SavedModel with the signature `"serving_default"`.
        path: `pathlib.Path` of the file.
        inputs: names of the inputs in the order of the file.

    Raises:
        ImportError: if tf2onnx is not installed.
    """
    import tf2onnx

    register_onnx_ops()
    definition, sources, targets, names = tf2onnx.tf_loader.from_saved_model(
        str(source),
        None,
        None,
        tag=["serve"],
        signatures=["serving_default"],
        return_tensors_to_rename=True,
    )
    functions = definition.library.function
    nodes = [node for function in functions for node in function.node_def]
    for each in (*definition.node, *functions, *nodes):
        for attribute in _NO_INLINING:
            each.attr.pop(attribute, None)
    sources = {names[tensor]: tensor for tensor in sources}
    targets = {names[tensor]: tensor for tensor in targets}
    # In ONNX an input and an output of the same name would be one tensor.
    for name in targets.keys() & sources.keys():
        unused = f"{name}_output"
        while unused in targets or unused in sources:
            unused += "_"
        names[targets[name]] = unused
    tf2onnx.convert.from_graph_def(
        definition,
        name=path.stem,
        input_names=[sources[name] for name in inputs],
        output_names=[targets[name] for name in sort_outputs(targets)],
        tensors_to_rename=names,
        output_path=str(path),
    )


def register_onnx_ops():
    """Registers `Erfc`, which the exact GELU uses, with tf2onnx.

    It is written as `erfc(x) = 1 - erf(x)`. The function can be called repeatedly.

    Raises:
        ImportError: if tf2onnx is not installed.
    """
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            source, output = node.input[0], node.output[0]
            types = {
                "shapes": [ctx.get_shape(output)],
                "dtypes": [ctx.get_dtype(output)],
            }
            ctx.remove_node(node.name)
            one = ctx.make_const(f"{node.name}_one", np.array(1.0, "float32"))
            erf = ctx.make_node("Erf", [source], **types)
            ctx.make_node(
                "Sub",
                [one.output[0], erf.output[0]],
                name=node.name,
                outputs=[output],
                **types,
            )
