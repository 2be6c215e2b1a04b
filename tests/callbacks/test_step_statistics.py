"""What a step's own graph is made of."""

import tensorflow as tf

from vgkeras.callbacks.step_statistics import one_branch


def test_a_branch_is_one_node_that_reads_each_variable_itself():
    variables = [tf.Variable([float(number)]) for number in range(20)]

    @tf.function(autograph=False)
    def step(due):
        def then():
            return [tf.concat([variable.read_value() for variable in variables], 0)]

        (joined,) = one_branch(due, then, lambda: [tf.zeros([0])])
        for variable in variables:  # what is read is read before
            variable.assign_add([1.0])
        return joined

    assert step(tf.constant(True)).numpy().tolist() == [*range(20)]
    assert step(tf.constant(False)).numpy().tolist() == []
    assert step(tf.constant(True)).numpy().tolist() == [*range(2, 22)]
    graph = step.get_concrete_function(tf.TensorSpec([], tf.bool)).graph
    (branch,) = (op for op in graph.get_operations() if op.type == "If")
    assert not branch.node_def.attr["_lower_using_switch_merge"].b
    eager = one_branch(tf.constant(True), lambda: [tf.ones(1)], lambda: [tf.zeros(1)])
    assert eager == [1]
