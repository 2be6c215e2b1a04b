"""Back-propagation through a linear stack by the chain rule, in NumPy float64."""

import numpy as np


def forward(kernels, x):
    """The activations a_0 = x, a_1, ..., a_L."""
    activations = [np.asarray(x, np.float64)]
    for kernel in kernels:
        activations.append(activations[-1] @ np.asarray(kernel, np.float64))
    return activations


def backward(kernels, x, y):
    """Loss, dL/dK_l, a_l and dL/da_l of the mean squared error, l = 1 ... L."""
    activations = forward(kernels, x)
    residual = activations[-1] - y
    upstream = 2.0 * residual / residual.size
    weight_gradients, activation_gradients = [], []
    for kernel, entering in zip(kernels[::-1], activations[-2::-1], strict=True):
        activation_gradients.append(upstream)
        weight_gradients.append(entering.T @ upstream)
        upstream = upstream @ np.asarray(kernel, np.float64).T
    return {
        "loss": np.mean(residual**2),
        "weight_gradient": weight_gradients[::-1],
        "activation": activations[1:],
        "activation_gradient": activation_gradients[::-1],
    }


def descend(kernels, x, y, *, steps, learning_rate):
    """Plain gradient descent: kernels and `backward` of them at steps 0 ... steps."""
    kernels = [np.asarray(kernel, np.float64) for kernel in kernels]
    history = []
    for _ in range(steps + 1):
        history.append({"kernels": kernels, **backward(kernels, x, y)})
        kernels = [
            kernel - learning_rate * gradient
            for kernel, gradient in zip(
                kernels, history[-1]["weight_gradient"], strict=True
            )
        ]
    return history


def log10_norm(array):
    """Base-10 logarithm of the Frobenius norm, scaled before it is squared."""
    largest = np.abs(array).max()
    if largest == 0:
        return -np.inf
    return np.log10(largest) + np.log10(np.linalg.norm(array / largest))
