"""Training from the best of several starts, on a problem whose best start is known."""

import math

import pytest
import torch

from inn import (
    Conditional,
    CouplingFlow,
    Geometric,
    Group,
    Latent,
    LikelihoodObjective,
    Optimization,
    Padding,
    SuccessiveHalving,
    build_conditional,
    fit_best_start,
    fit_conditional,
)
from lipbounds.errors import InvalidInput, NotConverged

SHAPE = Conditional(
    CouplingFlow(dim=2, blocks=1, hidden=4), Padding(dim=2, data=2, labels=1, latent=1, noise=0.0), Latent.normal(1)
)
SETTINGS = Optimization(20, (Group("", Geometric(1e-3, 1e-4)),))
OBJECTIVE = LikelihoodObjective(label_scale=0.5)
# shifts of the first layer's bias: start 2 begins nearest to the truth
SHIFTS = {0: 3.0, 10_000: -2.0, 20_000: 0.0, 30_000: 5.0}


def draw(n, generator):
    x = torch.randn(n, 2, generator=generator)
    return x, x[:, :1]


def make(seed):
    model = build_conditional(SHAPE, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(SHIFTS[seed])
    return model


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def alone(seed):
    model = make(seed)
    fit_conditional(model, draw, OBJECTIVE, SETTINGS, batch=16, seed=0)
    return weights(model)


@pytest.mark.parametrize("rounds", [((0.1, 1),), ((1.0, 1),), ((0.1, 3), (0.3, 2), (0.5, 1))])
def test_the_best_start_is_trained_as_if_alone(tmp_path, rounds):
    state = tmp_path / "state"
    chosen = fit_best_start(make, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(4, rounds), batch=16, seed=0, every=5, state=state)
    assert torch.equal(weights(chosen), alone(20_000))
    assert not torch.equal(weights(chosen), alone(0))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    again = fit_best_start(make, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(4, rounds), batch=16, seed=0)
    assert torch.equal(weights(again), weights(chosen))


def test_one_start_is_plain_training():
    one = fit_best_start(make, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(), batch=16, seed=0)
    assert torch.equal(weights(one), alone(0))


@pytest.mark.parametrize("at", [1, 5, 9, 13, 15, 18, 21])
def test_interrupted_starts_go_on(tmp_path, at):
    calls = []

    def interrupt(step, terms):
        calls.append(step)
        if len(calls) == at:
            raise KeyboardInterrupt

    def run(callback=None):
        return fit_best_start(
            make,
            draw,
            OBJECTIVE,
            SETTINGS,
            SuccessiveHalving(4, ((0.2, 2), (0.6, 1))),
            batch=16,
            seed=0,
            every=2,
            callback=callback,
            state=tmp_path / "state",
        )

    with pytest.raises(KeyboardInterrupt):
        run(interrupt)
    assert torch.equal(weights(run()), alone(20_000))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_start_that_fails_is_not_chosen():
    def broken(seed):
        model = make(seed)
        if seed == 20_000:
            with torch.no_grad():
                next(model.parameters()).fill_(math.nan)
        return model

    chosen = fit_best_start(broken, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(3, ((0.1, 2), (0.2, 1))), batch=16, seed=0)
    assert torch.equal(weights(chosen), alone(10_000))

    def all_broken(seed):
        return broken(20_000)

    with pytest.raises(NotConverged, match="step 0"):
        fit_best_start(all_broken, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(2, ((0.1, 1),)), batch=16, seed=0)


def test_steps_in_two_parts_are_the_steps_in_one(tmp_path):
    model, state = make(0), tmp_path / "state"
    fit_conditional(model, draw, OBJECTIVE, SETTINGS, batch=16, seed=0, state=state, stop=7)
    assert not torch.equal(weights(model), alone(0))
    fit_conditional(model, draw, OBJECTIVE, SETTINGS, batch=16, seed=0, state=state)
    assert torch.equal(weights(model), alone(0))
    with pytest.raises(InvalidInput, match="stop"):
        fit_conditional(model, draw, OBJECTIVE, SETTINGS, batch=16, seed=0, stop=21)


def test_starts_are_compared_where_one_asks():
    first = make(0)

    @torch.no_grad()
    def own(n, generator):
        """Pairs of the law that start 0 begins with: no other gives them a larger likelihood."""
        y, z = torch.randn(n, 1, generator=generator), torch.randn(n, 1, generator=generator)
        return first.flow.inverse(torch.cat((y + 0.5 * torch.randn(n, 1, generator=generator), z), dim=1)), y

    chosen = fit_best_start(make, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(2, ((0.05, 1),)), batch=16, seed=0, compare_on=own)
    near = fit_best_start(make, draw, OBJECTIVE, SETTINGS, SuccessiveHalving(2, ((0.05, 1),)), batch=16, seed=0)
    assert torch.equal(weights(near), alone(10_000))
    assert torch.equal(weights(chosen), alone(0))


@pytest.mark.parametrize(
    "bad",
    [
        {"number": 0},
        {"number": 3},
        {"number": 3, "rounds": ((0.0, 1),)},
        {"number": 3, "rounds": ((1.5, 1),)},
        {"number": 3, "rounds": ((0.5, 2),)},
        {"number": 3, "rounds": ((0.5, 3), (0.6, 1))},
        {"number": 3, "rounds": ((0.5, 2), (0.4, 1))},
        {"pairs": 0},
    ],
)
def test_impossible_starts(bad):
    with pytest.raises(InvalidInput, match=r"number|rounds|pairs"):
        SuccessiveHalving(**bad)
