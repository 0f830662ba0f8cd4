"""Compiled calls on the Keras backend in use, and the time until their results."""

import time

import keras


class EpochClock(keras.callbacks.Callback):
    """How much of an epoch is spent in the compiled training function.

    Attributes:
        epoch, inside: seconds of the epoch, and of the calls of the function in it,
            each until its result is there.
        loss: mean loss of the epoch.
    """

    def __init__(self, model):
        super().__init__()
        self.inside, self.epoch = 0.0, 0.0
        self.function = model.train_function

    def on_epoch_begin(self, epoch, logs=None):
        if self.function is None:  # first call: only now is there one
            self.function = self.model.train_function
        self.model.train_function = self._call
        self.epoch = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.epoch = time.perf_counter() - self.epoch
        self.model.train_function = self.function
        self.loss = logs["loss"]

    def _call(self, *arguments):
        start = time.perf_counter()
        result = self.function(*arguments)
        wait(result)
        self.inside += time.perf_counter() - start
        return result


def wait(results):
    """Returns when the device has computed `results`."""
    if keras.backend.backend() == "jax":
        import jax

        jax.block_until_ready(results)
        return
    for result in keras.tree.flatten(results):
        keras.ops.convert_to_numpy(result)


def compiled(model, batches):
    """A function that runs a compiled model on batches that lie on the device."""
    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(
            lambda *state, image: model.stateless_call(*state, image, training=False)[0]
        )
        state = [
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        batches = jax.device_put(batches)

        def call(image):
            return function(*state, image=image)

    else:
        import tensorflow as tf

        # As Keras decides for its own functions: XLA where there is an accelerator.
        xla = bool(tf.config.list_logical_devices("GPU"))
        call = tf.function(lambda image: model(image, training=False), jit_compile=xla)
        batches = [tf.constant(batch) for batch in batches]

    def run():
        for batch in batches:
            logits = call(batch)
        wait(logits)

    return run


def device():
    """Name of the accelerator, or `"cpu"`."""
    if keras.backend.backend() == "jax":
        import jax

        found = jax.devices()[0]
        return "cpu" if found.platform == "cpu" else found.device_kind
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    return tf.config.experimental.get_device_details(gpus[0])["device_name"]
