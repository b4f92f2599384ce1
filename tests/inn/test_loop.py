import json

import pytest
import torch

from inn.loop import Group, Optimization, fit
from inn.schedules import Constant, Cosine, Geometric, Linear, Phases, Ramp, Staircase, as_schedule
from lipbounds.errors import InvalidInput, NotConverged


def network(seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"flow.weight": (3, 4), "flow.bias": (3,), "latent.weight": (2, 3)}
    return {name: torch.randn(*size, generator=generator).requires_grad_() for name, size in sizes.items()}


def losses_of(parameters):
    def losses(done, generator):
        x = torch.randn(16, 4, generator=generator)
        y = torch.tanh(x @ parameters["flow.weight"].T + parameters["flow.bias"]) @ parameters["latent.weight"].T
        return {"fit": (y - x[:, :2]).square().mean(), "size": 1e-3 * parameters["latent.weight"].square().sum()}

    return losses


SETTINGS = Optimization(
    24,
    (Group("", Cosine(0.02)), Group("latent.", Geometric(0.05, 0.01), weight_decay=1e-3, clip_value=0.1)),
    betas=(0.8, 0.9),
    clip_norm=5.0,
)


def test_the_loop_is_adam():
    # the oracle is torch's own loop, written out, with the schedules evaluated by hand
    ours, theirs = network(), network()
    fit(ours, losses_of(ours), SETTINGS, seed=5)
    groups = [{"params": [theirs["flow.weight"], theirs["flow.bias"]]}, {"params": [theirs["latent.weight"]]}]
    adam = torch.optim.Adam(groups, lr=1.0, betas=(0.8, 0.9), fused=True)
    generator = torch.Generator().manual_seed(5)
    losses = losses_of(theirs)
    for step in range(24):
        adam.param_groups[0]["lr"] = Cosine(0.02)(step / 24)
        adam.param_groups[1].update(lr=0.05 * 0.2 ** (step / 24), weight_decay=1e-3)
        adam.zero_grad()
        sum(losses(step / 24, generator).values()).backward()
        theirs["latent.weight"].grad.clamp_(-0.1, 0.1)
        torch.nn.utils.clip_grad_norm_(theirs.values(), 5.0)
        adam.step()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-7)
    # without the clipping it is another result
    free = network()
    fit(free, losses_of(free), Optimization(24, (Group("", Cosine(0.02)),), betas=(0.8, 0.9)), seed=5)
    assert (free["flow.weight"] - ours["flow.weight"]).abs().max() > 1e-3


def test_matrices_can_be_left_to_muon():
    settings = Optimization(10, (Group("flow.", 0.01, matrix_rate=0.03), Group("latent.", 0.02)))
    ours, theirs = network(), network()
    fit(ours, losses_of(ours), settings, seed=5)
    muon = torch.optim.Muon([theirs["flow.weight"]], lr=0.03, weight_decay=0.0)
    adam = torch.optim.Adam([{"params": theirs["flow.bias"], "lr": 0.01}, {"params": theirs["latent.weight"], "lr": 0.02}])
    generator = torch.Generator().manual_seed(5)
    losses = losses_of(theirs)
    for step in range(10):
        for optimizer in (muon, adam):
            optimizer.zero_grad()
        sum(losses(step / 10, generator).values()).backward()
        for optimizer in (muon, adam):
            optimizer.step()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)


MUON = Optimization(24, (Group("", Cosine(0.02), matrix_rate=Cosine(0.05)),))


@pytest.mark.parametrize("settings", [SETTINGS, MUON], ids=["adam", "muon"])
@pytest.mark.parametrize("stop", [1, 8, 13, 23])
def test_a_training_resumes_bit_for_bit(tmp_path, stop, settings):
    whole = network()
    fit(whole, losses_of(whole), settings, seed=5)
    path = tmp_path / "state.safetensors"
    memory = {"count": torch.zeros(())}

    def count():
        memory["count"] += 1

    class Stop(Exception):
        pass

    def interrupt(step, terms):
        if step == stop:
            raise Stop

    first = network()
    with pytest.raises(Stop):
        fit(first, losses_of(first), settings, seed=5, callback=interrupt, every=1, state=path, memory=memory, after_step=count)
    memory["count"] += 100  # what happened after the last state is forgotten
    again = network(seed=77)  # whatever the weights are: the state has them
    fit(again, losses_of(again), settings, seed=5, every=1, state=path, memory=memory, after_step=count)
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert memory["count"] == 24
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]
    # a finished training stays as it is
    fit(again, losses_of(again), settings, seed=5, state=path, memory=memory)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_a_state_of_another_training_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    parameters = network()
    fit(parameters, losses_of(parameters), SETTINGS, seed=5, state=path)
    before = {name: value.detach().clone() for name, value in parameters.items()}
    data = path.read_bytes()
    with pytest.raises(InvalidInput, match="other settings or another seed"):
        fit(parameters, losses_of(parameters), SETTINGS, seed=6, state=path)
    other = network() | {"flow.bias": torch.zeros(4, requires_grad=True)}
    with pytest.raises(InvalidInput, match="another shape"):
        fit(other, losses_of(other), SETTINGS, seed=5, state=path)
    for damaged in (data[:100], data[: len(data) // 2], b"", json.dumps({"step": 3}).encode(), b"\x80\x04pickle"):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInput, match="a state of this training"):
            fit(parameters, losses_of(parameters), SETTINGS, seed=5, state=path)
    assert all(torch.equal(parameters[name], before[name]) for name in before)


def test_a_loss_that_is_not_finite_is_reported_at_once():
    parameters = network()
    before = None

    def losses(done, generator):
        nonlocal before
        before = {name: value.detach().clone() for name, value in parameters.items()}
        bad = torch.tensor(torch.nan) if done > 0.25 else torch.zeros(())
        return {"good": parameters["flow.bias"].sum(), "bad": bad + 0 * parameters["flow.weight"].sum()}

    with pytest.raises(NotConverged, match=r"loss 'bad' not finite at step 7; first layer is five; lower"):
        fit(parameters, losses, SETTINGS, seed=0, explain=lambda: "first layer is five")
    assert all(torch.equal(parameters[name], before[name]) for name in parameters)
    with torch.no_grad():
        parameters["latent.weight"][0, 0] = torch.inf
    with pytest.raises(NotConverged, match=r"parameters not finite: latent\.weight"):
        fit(parameters, losses, SETTINGS, seed=0)


def test_schedules():
    assert [Linear(1.0, 3.0, until=0.5)(done) for done in (0, 0.25, 0.5, 0.9)] == [1.0, 2.0, 3.0, 3.0]
    assert Geometric(1.0, 1e-4, until=0.5)(0.25) == pytest.approx(1e-2)
    assert Cosine(2.0, warmup=0.0)(0.5) == pytest.approx(1.0)
    assert Cosine(2.0, warmup=0.5)(0.25) == pytest.approx(0.5 * (1 + 2**-0.5))
    # the authors' min(1, 2 * 0.002^(1 - i / n))
    for done in (0.0, 0.3, 0.8, 0.95):
        assert Ramp(3.0)(done) == pytest.approx(3 * min(1.0, 2 * 0.002 ** (1 - done)))
    assert Ramp(3.0, until=0.5)(0.7) == 3.0
    assert [Staircase(1.0, 0.4, stairs=5)(done) for done in (0.1, 0.3, 0.99)] == pytest.approx([1.0, 0.4, 0.4**4])
    phases = Phases(((0.25, Ramp(2.0)), (0.75, 5.0), (1.0, Linear(0.0, 1.0))))
    assert [phases(done) for done in (0.125, 0.25, 0.5, 0.875, 1.0)] == pytest.approx([2 * 2 * 0.002**0.5, 5, 5, 0.5, 1.0])
    assert as_schedule(3)(0.2) == 3.0
    assert as_schedule(Constant(2.0)) == Constant(2.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Optimization(0),
        lambda: Optimization(3, ()),
        lambda: Optimization(3, (Group("a"), Group("a"))),
        lambda: Geometric(0.0, 1.0),
        lambda: Phases(((0.5, 1.0),)),
        lambda: Phases(((0.5, 1.0), (0.4, 1.0), (1.0, 1.0))),
        lambda: Phases(()),
        lambda: fit(network(), lambda done, generator: {}, Optimization(1, (Group("flow."),)), seed=0),
    ],
)
def test_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(InvalidInput):
        make()
