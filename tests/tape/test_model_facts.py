import json

import keras
import pytest

from vgkeras import tape


@pytest.fixture(scope="module")
def facts():
    layers = keras.layers
    body = [
        layers.SimpleRNN(4, activation="relu", name="memory"),
        layers.Dense(8, "tanh", kernel_initializer="zeros", name="equal"),
        layers.BatchNormalization(momentum=0.9, name="norm"),
        layers.Dense(3, "softmax", kernel_regularizer="l2", name="out"),
    ]
    model = keras.Sequential([keras.Input((100, 2)), *body], name="net")
    body[0].trainable = False
    model.compile(keras.optimizers.Adam(epsilon=1e-3), "categorical_crossentropy")
    return tape.model_facts(model)


def test_facts_are_json(facts):
    assert json.loads(json.dumps(facts)) == facts


def test_the_loss_and_the_layer_of_the_output_are_named(facts):
    loss = {"name": "categorical_crossentropy", "from_logits": False, "own": False}
    assert facts["losses"] == [loss]
    assert facts["outputs"] == [{"layer": "out"}]
    assert facts["layers"]["out"]["activation"] == "softmax"


def test_a_loss_of_ones_own_is_called_so():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", lambda y, p: keras.ops.mean(p - y))
    assert tape.model_facts(model)["losses"][0]["own"]


def test_settings_of_optimizer_and_layers_are_read(facts):
    assert facts["optimizer"]["class"] == "Adam"
    assert facts["optimizer"]["epsilon"] == 1e-3
    assert facts["layers"]["memory"]["steps"] == 100
    assert not facts["layers"]["memory"]["trainable"]
    assert facts["trainable"] == 6  # of the other layers
    assert facts["layers"]["norm"]["momentum"] == 0.9
    assert facts["layers"]["out"]["penalty"]


ZEROS, CONSTANT = "zeros", keras.initializers.Constant(0.1)


def equal_units(*layers, kernels=(CONSTANT, CONSTANT)):
    """Whether the first of two Dense layers, others in between, is so described."""
    first, last = (
        keras.layers.Dense(n, kernel_initializer=kernel, name=name)
        for n, kernel, name in zip((4, 3), kernels, ("first", "last"), strict=True)
    )
    model = keras.Sequential([keras.Input((4,)), first, *layers, last])
    return tape.model_facts(model)["layers"]["first"]["equal_units"]


@pytest.mark.parametrize("kernel", [ZEROS, CONSTANT])
def test_units_of_equal_weights_on_both_sides_are_equal(kernel):
    assert equal_units(kernels=(kernel, kernel))
    assert equal_units(keras.layers.ReLU(), keras.layers.BatchNormalization())


@pytest.mark.parametrize(
    "kernels", [("he_normal", ZEROS), (ZEROS, "he_normal"), ("he_normal", "he_normal")]
)
def test_random_weights_on_one_side_part_the_units(kernels):
    assert not equal_units(kernels=kernels)


def test_dropout_parts_units():
    assert not equal_units(keras.layers.Dropout(0.5))


@pytest.mark.parametrize("quantized", [False, True])
def test_an_adapted_layer_is_described_too(quantized):
    first, last = keras.layers.Dense(4, name="first"), keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((4,)), first, last])
    if quantized:
        first.quantize("int8")
    first.enable_lora(2)

    assert not tape.model_facts(model)["layers"]["first"]["equal_units"]


def test_two_heads_that_start_at_zero_are_no_units_of_each_other():
    """An actor and a critic, or a shift and a scale."""
    inputs = keras.Input((4,))
    heads = [
        keras.layers.Dense(n, kernel_initializer="zeros", name=name)
        for n, name in ((3, "actor"), (2, "critic"))
    ]
    model = keras.Model(inputs, [head(inputs) for head in heads])

    layers = tape.model_facts(model)["layers"]
    assert not layers["actor"]["equal_units"]
    assert not layers["critic"]["equal_units"]


def test_a_model_without_a_graph_or_a_loss_has_facts_too():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(1)

        def call(self, x):
            return self.head(x)

    facts = tape.model_facts(Own())

    assert facts["losses"] == facts["outputs"] == []
    assert facts["optimizer"] == {}
