"""PyTorch, eager: an `nn.Sequential` a run, plain SGD, `autograd.grad` each step."""

from __future__ import annotations

import numpy as np
import torch
from problem import Problem, Recorder
from torch import nn

from vgkeras.logs import GradientLog

torch.set_num_threads(1)  # tensors of 128 numbers gain nothing from two
# The first optimizer imports ten seconds of compiler: imports are not on the clock.
torch.optim.SGD([torch.zeros(1, requires_grad=True)])


def run(problem: Problem) -> GradientLog:
    recorder = Recorder(problem)
    for index, (scale, depth) in enumerate(problem.runs):
        descend(problem, build(scale, depth, problem.units), recorder, index)
    return recorder.to_log()


def build(scale: float, depth: int, units: int) -> nn.Sequential:
    model = nn.Sequential(*(nn.Linear(units, units, bias=False) for _ in range(depth)))
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(scale * torch.eye(units))
    return model


def descend(
    problem: Problem, model: nn.Sequential, recorder: Recorder, index: int
) -> None:
    x, y = map(torch.from_numpy, problem.data())
    weights = list(model.parameters())
    optimizer = torch.optim.SGD(weights, problem.learning_rate)
    for step in range(problem.steps + 1):
        activations = [x]
        for layer in model:
            activations.append(layer(activations[-1]))
        loss = nn.functional.mse_loss(activations[-1], y)
        slopes = torch.autograd.grad(loss, [*weights, *activations[1:]])
        gradients, deltas = slopes[: len(weights)], slopes[len(weights) :]
        before = torch.stack(weights).detach()
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimizer.step()

        recorder.losses[index, step] = loss.item()
        out = recorder.statistics[:, :, index, step, : len(weights)]
        out[:, 0] = weight_summary(before, torch.stack(gradients), problem)
        out[:5, 1] = summary(torch.stack(activations[1:]).detach())
        out[:5, 2] = summary(torch.stack(deltas))


def weight_summary(
    kernels: torch.Tensor, gradients: torch.Tensor, problem: Problem
) -> np.ndarray:
    updates = problem.learning_rate * gradients
    frozen = (kernels - updates == kernels).float().mean((1, 2)).numpy()
    with np.errstate(all="ignore"):
        ratio = 10 ** (summary(updates)[0] - summary(kernels)[0])
    return np.stack([*summary(gradients), frozen, ratio])


def summary(tensors: torch.Tensor) -> np.ndarray:
    """Five statistics of each tensor, `(layers, ...)` -> `(5, layers)`."""
    flat = tensors.abs().flatten(1)
    largest = flat.amax(1)
    ratio = flat / torch.where(largest > 0, largest, 1)[:, None]
    broken = (~flat.isfinite()).float().mean(1)
    log_max = torch.where(broken > 0, torch.inf, largest.log10())
    plain = (broken == 0) & (largest > 0)
    half = ratio.square().sum(1).log10() / 2
    log_norm = torch.where(plain, log_max + half, log_max)
    log_mean = torch.where(plain, log_max + ratio.mean(1).log10(), log_max)
    zeros = (flat == 0).float().mean(1)
    return torch.stack([log_norm, log_max, log_mean, zeros, broken]).numpy()
