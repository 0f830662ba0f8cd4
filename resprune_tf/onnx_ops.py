"""ONNX forms of TensorFlow operations that tf2onnx does not know."""

import numpy as np


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
