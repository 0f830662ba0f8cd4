"""The models whose units are found and removed."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ZooModel:
    """A model with random weights.

    Attributes:
        name: name in the records and on the page.
        source: package that it comes from.
        size: height and width of the input images.
        options: options of its constructor.
        opened: whether `expand` opens its blocks, which are layers.
    """

    name: str
    source: str = "keras.applications"
    size: int = 224
    options: dict = dataclasses.field(default_factory=dict)
    opened: bool = False

    def build(self):
        """The `keras.Model`."""
        shape = (self.size, self.size, 3)
        if self.source == "keras.applications":
            from keras import applications

            # Logits: a softmax would hide by how much outputs differ.
            options = {"classifier_activation": None, **self.options}
            constructor = getattr(applications, self.name)
            return constructor(weights=None, input_shape=shape, **options)
        if self.source == "keras_hub":
            import keras_hub

            options = dict(self.options)
            constructor = getattr(keras_hub.models, options.pop("model"))
            model = constructor(image_shape=shape, **options)
        else:
            from experiments.zoo.odd_net import odd_net

            model = odd_net(self.size)
        if self.opened:
            from resprune_tf import expand

            model = expand(model)
        return model


def _resnet(units, block, v2=False):
    return {
        "model": "ResNetBackbone",
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": units,
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": block,
        "use_pre_activation": v2,
    }


_BOTTLENECK = "bottleneck_block"
_VIT = {
    "model": "ViTBackbone",
    "patch_size": (16, 16),
    "num_layers": 12,
    "num_heads": 3,
    "hidden_dim": 192,
    "mlp_dim": 768,
}
NETS = (
    *(ZooModel(f"ResNet{depth}{v}") for v in ("", "V2") for depth in (50, 101, 152)),
    ZooModel("MobileNetV2"),
    ZooModel("MobileNetV3Small"),
    ZooModel("MobileNetV3Large"),
    ZooModel("EfficientNetB0"),
    ZooModel("EfficientNetV2B0"),
    ZooModel("ConvNeXtTiny"),
    ZooModel("Xception", size=299),
    ZooModel("InceptionResNetV2", size=299),
    ZooModel("DenseNet121"),
    ZooModel("ResNet-18", "keras_hub", 224, _resnet([2, 2, 2, 2], "basic_block")),
    ZooModel("ResNet-50", "keras_hub", 224, _resnet([3, 4, 6, 3], _BOTTLENECK)),
    ZooModel(
        "ResNet-50 V2", "keras_hub", 224, _resnet([3, 4, 6, 3], _BOTTLENECK, True)
    ),
    ZooModel("ViT-Tiny/16", "keras_hub", 224, _VIT, opened=True),
    ZooModel("odd_net", "experiments/zoo/odd_net.py", 64, opened=True),
)
# Models whose latency is measured: from plain to unusual, all fast.
TIMED = ("ResNet50", "MobileNetV2", "EfficientNetB0", "ViT-Tiny/16", "odd_net")
