"""The ONNX form of a SavedModel, by tf2onnx, and the operations it is taught."""

import numpy as np

from resprune_tf.deploy.runtimes import in_order

# What keeps TensorFlow from writing the body of a function in place of its call, where
# alone tf2onnx looks. Keras computes grouped convolutions in such functions.
_APART = ("_XlaMustCompile", "_noinline")


def write_onnx(source, path, inputs):
    """Writes a SavedModel as an ONNX file.

    Keras's `model.export(format="onnx")` makes one more input of every tensor that a
    layer or an operation holds, such as the statistics of a `Normalization`, cannot
    write grouped convolutions, and calls outputs `Identity:0`.

    Args:
        source: path of a SavedModel with a signature `"serving_default"`.
        path: `pathlib.Path` of the file.
        inputs: names of the inputs, in the order that they are to have.

    Raises:
        ImportError: if tf2onnx is not installed.
    """
    import tf2onnx

    register_onnx_ops()
    definition, entrances, exits, names = tf2onnx.tf_loader.from_saved_model(
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
        for attribute in _APART:
            each.attr.pop(attribute, None)
    entrances = {names[tensor]: tensor for tensor in entrances}
    exits = {names[tensor]: tensor for tensor in exits}
    for name in exits.keys() & entrances.keys():  # in ONNX these would be one
        free = f"{name}_output"
        while free in exits or free in entrances:
            free += "_"
        names[exits[name]] = free
    tf2onnx.convert.from_graph_def(
        definition,
        name=path.stem,
        input_names=[entrances[name] for name in inputs],
        output_names=[exits[name] for name in in_order(exits)],
        tensors_to_rename=names,
        output_path=str(path),
    )


def register_onnx_ops():
    """Tells tf2onnx how to write `Erfc`, of which the exact GELU is made.

    `erfc(x) = 1 - erf(x)`. Registering it again changes nothing.

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
