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


def test_kernels_of_equal_columns_are_seen(facts):
    assert facts["layers"]["equal"]["equal_columns"]
    assert not facts["layers"]["out"]["equal_columns"]


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
