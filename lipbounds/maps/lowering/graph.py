"""The operations of a torch program, as stages.

Whatever torch does to a point, in its own small set of operations (ATen) and with loops unrolled, becomes affine expressions and
activations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation, activation_of_module, get_activation
from lipbounds.maps.activations.relu import LeakyRelu
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.lowering.expressions import Expression, Program
from lipbounds.maps.lowering.merging import merged
from lipbounds.maps.lowering.recording import Record, Recorded, recorded

__all__ = ["lowered"]

aten = torch.ops.aten

POINTS = 32  # at which the stages are compared with the program
AGREEMENT = 1e-9  # relative: both are computed in double precision
REMEDY = "use find_lipschitz, or write the part with operations of docs/lipschitz.md"

# entries move, or are summed; no weight
MOVES = {
    aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.expand, aten.squeeze, aten.unsqueeze,
    aten.select, aten.slice, aten.clone, aten.detach, aten.alias, aten.flip, aten.roll, aten.repeat, aten.upsample_nearest1d,
    aten.upsample_nearest2d, aten.index, aten.index_select, aten.narrow, aten.neg, aten.contiguous, aten.lift_fresh_copy,
    aten.diagonal, aten.tril, aten.triu,
}  # fmt: skip
PARTS = {aten.split, aten.split_with_sizes, aten.unbind, aten.chunk}
SUMS = {aten.sum, aten.cumsum}
ACTIVATIONS = {aten.tanh: "tanh", aten.sigmoid: "sigmoid", aten.silu: "silu", aten.atan: "arctan", aten.relu: "relu"}

Handler = Callable[[Program, Any, Any], Any]


def lowered(model: Callable[[Tensor], Any], inputs: int) -> FeedForward:
    """Return the stages that a model consists of.

    Weights are those of the model in double precision. Numbers that torch derives from them are rounded to doubles first, and the
    stages have these: the scale and offset of batch normalisation, and reciprocals in divisions by numbers and in means.

    Args:
        model: A module, or a function of torch operations, rows of shape (n, inputs) to rows; in evaluation mode, float64.
        inputs: Dimension of its input.

    Raises:
        InvalidInput: For an operation that is not read, which is named; for a map that depends on its values otherwise than by
            its operations (branches of Python, random numbers), found by comparing values at points.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 5)).double().requires_grad_(False)
        >>> [stage.matrix.shape for stage in lowered(net, 2).stages]
        [(3, 2), (5, 3)]
    """
    record = recorded(lambda z: _first(model(z)), inputs)
    with torch.no_grad():
        program = Program(inputs)
        network = merged(program.feed_forward(_interpreted(record, program)))
        _compare(network, model)
    return network


def _first(image: Any) -> Tensor:
    result = image[0] if isinstance(image, tuple) else image
    if not isinstance(result, Tensor) or not result.ndim:
        wanted = "a tensor, a row for each point, or a tuple that begins with it"
        raise InvalidInput("model", f"an image of type {type(result).__name__}", wanted, "return the tensor of the data")
    return result.reshape(len(result), -1)


def _compare(network: FeedForward, model: Callable[[Tensor], Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    points = 3.0 * torch.randn(POINTS, network.inputs, dtype=torch.float64, generator=generator)
    ours, theirs = network.function()(points), _first(model(points))
    if theirs.shape != ours.shape:
        got, wanted = f"an image of shape {tuple(theirs.shape)} for {POINTS} points", f"shape {tuple(ours.shape)}, a row for each"
        raise InvalidInput("model", got, wanted, "keep the first axis for the points")
    size = 1.0 + theirs.abs().amax()
    if not bool(((ours - theirs).abs() <= AGREEMENT * size).all()):
        got = "values that its recorded operations do not give at other points, or in a batch"
        raise InvalidInput("model", got, "the same operations for every point", "branches on values and noise are not read")


def _interpreted(record: Record, program: Program) -> Expression:
    values: dict[int, Any] = {id(record.point): program.input}

    def read(argument: Any) -> Any:
        return values[id(argument)] if isinstance(argument, Recorded) else argument

    for step in record.steps:
        args, kwargs = tree_map(read, (step.args, step.kwargs))
        outcome = _value(program, step.operation, args, kwargs)
        pairs = zip(step.result, outcome, strict=True) if isinstance(step.result, tuple | list) else [(step.result, outcome)]
        values.update({id(tensor): value for tensor, value in pairs})
    expression = values[id(record.image)]
    assert isinstance(expression, Expression)
    return expression


def _value(program: Program, target: Any, args: Any, kwargs: Any) -> Any:
    packet: Any = getattr(target, "overloadpacket", None)
    if packet in MOVES:
        return args[0].moved(lambda images: target(images, *args[1:], **kwargs))
    if packet in PARTS:
        count = len(target(args[0].constant, *args[1:], **kwargs))
        return [args[0].moved(lambda images, k=k: target(images, *args[1:], **kwargs)[k]) for k in range(count)]
    if packet in SUMS:
        return program.weighted(args[0], lambda images: target(images, *args[1:], **kwargs))
    handler = HANDLERS.get(packet)
    if handler is None:
        kind = ACTIVATIONS.get(packet)
        if kind is None:
            raise _unread(str(packet or target))
        return program.activated(args[0], get_activation(kind))
    return handler(program, args, kwargs)


def _unread(what: str) -> InvalidInput:
    return InvalidInput("model", f"the operation {what.removeprefix('aten.')}", "one that is read", REMEDY)


def _numbers(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to(torch.float64)
    return torch.tensor(float(value), dtype=torch.float64)


def _constant(value: Any, like: Expression) -> Expression:
    return Expression({}, _numbers(value) + torch.zeros_like(like.constant))


def _expressions(a: Any, b: Any) -> tuple[Expression, Expression]:
    if not isinstance(a, Expression):
        return _constant(a, b), b
    return a, b if isinstance(b, Expression) else _constant(b, a)


def _add(program: Program, args: Any, kwargs: Any, sign: float = 1.0) -> Expression:
    a, b = _expressions(args[0], args[1])
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    return program.added(a, b if alpha == 1 else program.scaled(b, _numbers(alpha)), sign)


def _subtract(program: Program, args: Any, kwargs: Any) -> Expression:
    return _add(program, args, kwargs, -1.0)


def _subtract_from(program: Program, args: Any, kwargs: Any) -> Expression:
    return _add(program, (args[1], args[0], *args[2:]), kwargs, -1.0)


def _multiply(program: Program, args: Any, _: Any) -> Expression:
    a, b = args[:2]
    if isinstance(a, Expression) and isinstance(b, Expression):
        for value, other in ((a, b), (b, a)):
            if program.is_activated(other, value, SIGMOID):
                return program.activated(value, get_activation("silu"))
        raise _unread("mul of two values")
    return program.scaled(a, _numbers(b)) if isinstance(a, Expression) else program.scaled(b, _numbers(a))


def _divide(program: Program, args: Any, kwargs: Any) -> Expression:
    if isinstance(args[1], Expression) or kwargs.get("rounding_mode") is not None:
        raise _unread("div by a value")
    return program.scaled(args[0], 1.0 / _numbers(args[1]))


def _join(operation: Any) -> Handler:
    return lambda program, args, _: program.joined(args[0], lambda parts: operation(parts, *args[1:]))


def _copy(program: Program, args: Any, _: Any) -> Expression:
    # what was written before is the first
    return program.joined(args[:2], lambda parts: torch.broadcast_to(parts[1], parts[0].shape).clone())


def _written(operation: Any) -> Handler:
    """Writes to a part of a tensor."""
    return lambda program, args, kwargs: program.joined(args[:2], lambda parts: operation(*parts, *args[2:], **kwargs))


def _addmm(program: Program, args: Any, kwargs: Any) -> Expression:
    bias, rows, matrix = args
    if kwargs or not isinstance(rows, Expression) or isinstance(matrix, Expression) or isinstance(bias, Expression):
        raise _unread("addmm of values")
    return program.weighted(rows, lambda images: images @ _numbers(matrix), _numbers(bias))


def _matrix_product(program: Program, args: Any, _: Any) -> Expression:
    a, b = args
    if isinstance(a, Expression) and isinstance(b, Expression):
        raise _unread("product of two matrices of values")
    if isinstance(a, Expression):
        return program.weighted(a, lambda images: images @ _numbers(b))
    return program.weighted(b, lambda images: _numbers(a) @ images)


def _convolution(program: Program, args: Any, _: Any) -> Expression:
    values, weights, bias, *rest = args
    if not isinstance(values, Expression) or isinstance(weights, Expression):
        raise _unread("convolution with weights that are values")
    shape = (1, -1, *([1] * (weights.ndim - 2)))
    constant = None if bias is None else _numbers(bias).reshape(shape)
    return program.weighted(values, lambda images: aten.convolution(images, _numbers(weights), None, *rest), constant)


def _average_pool(program: Program, args: Any, kwargs: Any) -> Expression:
    return program.weighted(args[0], lambda images: aten.avg_pool2d(images, *args[1:], **kwargs))


def _mean(program: Program, args: Any, kwargs: Any) -> Expression:
    axes = args[1] if len(args) > 1 and args[1] is not None else list(range(args[0].constant.ndim))
    keep = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
    count = 1
    for axis in axes:
        count *= args[0].constant.shape[axis]
    total = program.weighted(args[0], lambda images: aten.sum.dim_IntList(images, axes, keep))
    return program.scaled(total, torch.tensor(1.0 / count, dtype=torch.float64))


def _pad(program: Program, args: Any, _: Any) -> Expression:
    values: Expression
    values, sides, *value = args
    return values.moved(
        lambda images: aten.constant_pad_nd(images, sides, 0.0),
        lambda constant: aten.constant_pad_nd(constant, sides, *value),
    )


def _batch_norm(program: Program, args: Any, _: Any) -> list[Any]:
    values, weight, bias, mean, variance = args[:5]
    if mean is None or (len(args) == 8 and args[5]):
        raise InvalidInput("model", "batch normalisation in training", "evaluation mode", "call model.eval()")
    scale = torch.rsqrt(_numbers(variance) + args[-1])
    scale = scale if weight is None else scale * _numbers(weight)
    offset = -_numbers(mean) * scale + (0.0 if bias is None else _numbers(bias))
    shape = (1, -1, *([1] * (values.constant.ndim - 2)))
    moved = program.scaled(values, scale.reshape(shape))
    return [program.added(moved, _constant(offset.reshape(shape), moved)), None, None]


def _leaky_relu(program: Program, args: Any, kwargs: Any) -> Expression:
    return _with_slope(program, args[0], float(args[1] if len(args) > 1 else kwargs.get("negative_slope", 0.01)))


def _with_slope(program: Program, values: Expression, slope: float) -> Expression:
    if not 0.0 <= slope < 1.0:
        raise _unread(f"leaky relu with the slope {slope:g} below 0, which is not in [0, 1)")
    return program.activated(values, LeakyRelu(slope))


def _prelu(program: Program, args: Any, _: Any) -> Expression:
    values, slope = args
    if slope.numel() != 1:
        raise _unread("prelu with several slopes")
    return _with_slope(program, values, float(slope))


def _module(make: Callable[..., nn.Module]) -> Handler:
    def handle(program: Program, args: Any, kwargs: Any) -> Expression:
        return program.activated(args[0], _of(make(*args[1:], **kwargs)))

    return handle


def _of(module: nn.Module) -> Activation:
    try:
        return activation_of_module(module)
    except InvalidInput as error:
        raise _unread(f"{module}, whose parameters are not torch's usual ones,") from error


def _elu(alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> nn.Module:
    if scale != 1.0 or input_scale != 1.0:
        raise _unread("selu")
    return nn.ELU(alpha)


RELU, SIGMOID = get_activation("relu"), get_activation("sigmoid")


def _maximum(program: Program, args: Any, _: Any) -> Expression:
    a, b = _expressions(*args[:2])
    return program.added(b, program.activated(program.added(a, b, -1.0), RELU))


def _minimum(program: Program, args: Any, _: Any) -> Expression:
    a, b = _expressions(*args[:2])
    return program.added(a, program.activated(program.added(a, b, -1.0), RELU), -1.0)


def _absolute(program: Program, args: Any, _: Any) -> Expression:
    negative = args[0].moved(torch.neg)
    return program.added(program.activated(args[0], RELU), program.activated(negative, RELU))


def _clamp(program: Program, args: Any, kwargs: Any) -> Expression:
    value, low, high = (*args, None, None)[:3]
    low, high = kwargs.get("min", low), kwargs.get("max", high)
    if low is not None:
        value = _maximum(program, (value, low), {})
    return value if high is None else _minimum(program, (value, high), {})


def _hardtanh(program: Program, args: Any, _: Any) -> Expression:
    # arguments that are the defaults are left out, one by one
    low = args[1] if len(args) > 1 else -1.0
    high = args[2] if len(args) > 2 else 1.0
    return _clamp(program, (args[0], low, high), {})


HANDLERS: dict[Any, Handler] = {
    aten.add: _add,
    aten.sub: _subtract,
    aten.rsub: _subtract_from,
    aten.mul: _multiply,
    aten.div: _divide,
    aten.cat: _join(torch.cat),
    aten.stack: _join(torch.stack),
    aten.copy: _copy,
    aten.select_scatter: _written(aten.select_scatter),
    aten.slice_scatter: _written(aten.slice_scatter),
    aten.addmm: _addmm,
    aten.mm: _matrix_product,
    aten.bmm: _matrix_product,
    aten.mv: _matrix_product,
    aten.convolution: _convolution,
    aten.avg_pool2d: _average_pool,
    aten.mean: _mean,
    aten.constant_pad_nd: _pad,
    aten.native_batch_norm: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.leaky_relu: _leaky_relu,
    aten._prelu_kernel: _prelu,
    aten.gelu: _module(nn.GELU),
    aten.softplus: _module(nn.Softplus),
    aten.elu: _module(_elu),
    aten.maximum: _maximum,
    aten.minimum: _minimum,
    aten.abs: _absolute,
    aten.clamp: _clamp,
    aten.clamp_min: lambda program, args, _: _maximum(program, args, {}),
    aten.clamp_max: lambda program, args, _: _minimum(program, args, {}),
    aten.hardtanh: _hardtanh,
    aten.relu6: lambda program, args, _: _clamp(program, (args[0], 0.0, 6.0), {}),
}
