"""zuko's RealNVP in longer arithmetic: T^{-1} in numpy's longdouble, layer by layer, from its weights."""

import math

import numpy as np


def realnvp_inverse(flow, z):
    """T^{-1} of `zuko.flows.RealNVP` at one point, shape (d,), in longdouble."""
    x = np.asarray(z, dtype=np.longdouble)
    for transform in reversed(list(flow.transform.transforms)):
        mask = transform.mask.numpy()
        hidden = x[mask]
        linear = [layer for layer in transform.hyper if hasattr(layer, "weight")]
        for number, layer in enumerate(linear):
            weight, bias = (part.detach().numpy().astype(np.longdouble) for part in (layer.weight, layer.bias))
            hidden = weight @ hidden + bias
            if number < len(linear) - 1:
                hidden = np.maximum(hidden, 0)
        shift, raw = hidden.reshape(-1, 2).T
        log_scale = raw / (1 + abs(raw / np.longdouble(math.log(1e-3))))
        x = x.copy()
        x[~mask] = (x[~mask] - shift) / np.exp(log_scale)
    return x
