"""Equation (8) transcribed as it is printed, one point at a time in numpy."""

import numpy as np


def _subnet(mlp, values):
    for index, layer in enumerate(mlp.layers):
        values = layer.weight.numpy() @ values + layer.bias.numpy()
        if index < len(mlp.layers) - 1:
            values = np.tanh(values)
    return values


def coupling_layer(layer, x):
    """v_1 = x_1 exp(s_2(x_2)) + t_2(x_2), v_2 = x_2 exp(s_1(v_1)) + t_1(v_1), s clamped by (2 alpha / pi) arctan(s / alpha)."""
    n, k = layer.split

    def clamp(s):
        return 2 * layer.clamp.alpha / np.pi * np.arctan(s / layer.clamp.alpha)

    x_1, x_2 = x[:n], x[n:]
    out = _subnet(layer.subnet_2, x_2)
    v_1 = x_1 * np.exp(clamp(out[:n])) + out[n:]
    out = _subnet(layer.subnet_1, v_1)
    v_2 = x_2 * np.exp(clamp(out[:k])) + out[k:]
    return np.concatenate((v_1, v_2))
