"""The objectives against slow transcriptions, and training with them on problems whose answer is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from inn import (
    Conditional,
    ConditionalModel,
    Cosine,
    CouplingFlow,
    Discrepancy,
    Geometric,
    Group,
    Invertible,
    Latent,
    LikelihoodObjective,
    MixtureLatent,
    Optimization,
    Padding,
    PaperObjective,
    Wasserstein1,
    build_conditional,
    coupling_flow,
    first_bad_layer,
    fit_conditional,
    load_model,
    means_from_image,
    save_flow,
    save_model,
)
from lipbounds.distances import InverseQuadratic, discrepancy
from lipbounds.errors import InvalidInput, NotConverged

SIZES = Padding(dim=6, data=2, labels=2, latent=1, noise=0.1)
FLOW = CouplingFlow(dim=6, blocks=2, hidden=6)
MIXTURE = MixtureLatent(means=((-3.0,), (3.0,)), scale=0.5, hidden=8, depth=1)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def model_of(latent=MIXTURE, seed=0):
    return build_conditional(Conditional(FLOW, SIZES, latent), seed=seed).double()


def batch(n=7, seed=0):
    generator = random(seed)
    return (torch.randn(n, 2, generator=generator, dtype=torch.float64) for _ in range(2))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["printed", "images", "program"]))
def test_the_papers_losses_as_printed(seed, variant):
    model = model_of(seed=seed % 1000)
    x, y = batch(seed=seed)
    kernel = InverseQuadratic()
    objective = PaperObjective(
        labels=2.0,
        latent=3.0,
        data=5.0,
        image_padding=7.0,
        reconstruction=11.0,
        data_padding=13.0,
        sparsity=17.0,
        regularisation=19.0,
        from_labels=variant == "images",
        fixed_image=variant == "program",
        latent_metric=Discrepancy(kernel, squared=True),
        data_metric=Discrepancy(kernel),
        temperature=0.3,
    )
    terms = objective(model, x, y, 0.5, random(seed))
    # the same draws, row by row
    generator = random(seed)
    z = model.sample_latent(y, generator, temperature=0.3).detach()
    padded = SIZES.pad_data(x, generator)
    target = SIZES.pad_image(y, z, generator)
    with torch.no_grad():
        images, generated = model.flow(padded), model.flow.inverse(target)
        kept = back = used = fit = 0.0
        for row in range(len(x)):
            image, goal = images[row], target[row]
            fit += float(sum((image[i] - y[row, i]) ** 2 for i in range(2)))
            kept += float(sum((image[i] - goal[i]) ** 2 for i in range(2, 5)))
            start = {
                "printed": torch.cat((image[:2], goal[2:5], image[5:])),
                "images": torch.cat((goal[:5], image[5:])),
                "program": image,
            }[variant]
            back += float((padded[row] - model.flow.inverse(start[None])[0]).square().sum())
            used += float(generated[row, :4].square().sum())
        joint, wanted = torch.cat((images[:, :2], images[:, 5:]), 1), torch.cat((y, z), 1)
        p = model.latent.probabilities(y)
        weights = [value for name, value in model.flow.named_parameters() if name.endswith("weight")]
        expected = {
            "labels": 2 * fit / 7,
            "latent": 3 * float(discrepancy(joint, wanted, kernel, squared=True)),
            "data": 5 * float(discrepancy(generated[:, 4:], x, kernel, squared=False)),
            "image_padding": 7 * kept / 7,
            "reconstruction": 11 * back / 7,
            "data_padding": 13 * used / 7,
            "sparsity": 17 * float((p.sqrt().sum(1) ** 2).mean()),
            "regularisation": 19 * 0.5 * float(sum(value.square().sum() for value in weights)),
        }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_terms_of_weight_0_are_left_out():
    x, y = batch()
    assert PaperObjective(labels=1, latent=0, data=0)(model_of(), x, y, 0.0, random()).keys() == {"labels"}
    ramped = PaperObjective(labels=lambda done: done, latent=0, data=0, image_padding=2.0)
    assert ramped(model_of(), x, y, 0.0, random()).keys() == {"image_padding"}
    halved = (float(ramped(model_of(), x, y, done, random())["labels"].detach()) for done in (0.5, 1.0))
    assert next(halved) == pytest.approx(0.5 * next(halved))
    with pytest.raises(InvalidInput, match="sparsity"):
        PaperObjective(sparsity=1.0)(model_of(Latent.normal(1)), x, y, 0.0, random())


def test_noise_on_labels_and_data_is_where_it_is_said_to_be():
    x, y = batch(n=200)

    def terms(**noise):
        every = {"labels": 1.0, "latent": 0.0, "data": 0.0, "reconstruction": 1.0, "from_labels": True}
        values = PaperObjective(**every, **noise)(model_of(), x, y, 0.0, random())
        return {name: float(value.detach()) for name, value in values.items()}

    plain, labels, data = terms(), terms(label_noise=3.0), terms(data_noise=3.0)
    # noise of deviation 3 on two labels that go into the inverse adds about 18 to a square that is 2
    assert labels["reconstruction"] > plain["reconstruction"] + 2.0
    # that on the data reaches the labels' coordinates through the couplings only
    assert abs(data["labels"] - plain["labels"]) > 1e-4


def test_labels_move_only_by_their_own_loss():
    # L_z sees T_y(x) as a constant: its slopes are those of the transcription with T_y(x) held, and not those without
    model, metric = model_of(), Discrepancy()
    x, y = batch()
    weights = list(model.flow.parameters())
    term = PaperObjective(labels=0, data=0, latent_metric=metric)(model, x, y, 0.0, random())["latent"]
    slopes = torch.autograd.grad(term, weights, allow_unused=True)
    generator = random()
    z = model.sample_latent(y, generator, temperature=0.1)
    own_y, _, own_z = SIZES.split(model.flow(SIZES.pad_data(x, generator)))
    for held, same in ((own_y.detach(), True), (own_y, False)):
        value = metric(torch.cat((held, own_z), dim=1), torch.cat((y, z), dim=1))
        expected = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
        close = [a is b is None or torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(slopes, expected, strict=True)]
        assert all(close) is same


def test_the_likelihood_as_a_density():
    model = model_of()
    x, y = batch()
    terms = LikelihoodObjective(label_scale=0.3, spread=0.5)(model, x, y, 0.0, random())
    padded = SIZES.pad_data(x, random()).detach()
    total = 0.0
    for row, label in zip(padded, y, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda point: model.flow(point[None])[0], row)
        image = model.flow(row[None])[0].detach()
        density = 1.0
        for entry, centre, scale in [
            *((image[i], label[i], 0.3) for i in range(2)),
            *((image[i], 0.0, 0.1) for i in range(2, 5)),
        ]:
            density *= math.exp(-((float(entry) - float(centre)) ** 2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi))
        p = model.latent.probabilities(label[None])[0].detach()
        density *= sum(
            float(p[i]) * math.exp(-((float(image[5]) - mean) ** 2) / (2 * 0.25)) / (0.5 * math.sqrt(2 * math.pi))
            for i, mean in enumerate((-1.5, 1.5))
        )
        total -= math.log(density * abs(float(torch.linalg.det(jacobian))))
    assert float(sum(terms.values()).detach()) == pytest.approx(total / len(x), rel=1e-9)


class Turn(Invertible):
    """Turns (padding / noise, x) by an angle; the first coordinate, times tau, is the label's, the second is z."""

    dim = 2

    def __init__(self, angle, noise, tau):
        super().__init__()
        c, s = math.cos(angle), math.sin(angle)
        left, right = (torch.diag(torch.tensor(sizes, dtype=torch.float64)) for sizes in ((tau, 1.0), (1 / noise, 1.0)))
        self.matrix = left @ torch.tensor([[c, -s], [s, c]], dtype=torch.float64) @ right

    def forward_and_log_det(self, x):
        return x @ self.matrix.T, self.matrix.logdet().expand(len(x))

    def inverse_and_log_det(self, z):
        return torch.linalg.solve(self.matrix, z.T).T, -self.matrix.logdet().expand(len(z))


@given(st.integers(0, 2**32 - 1), st.floats(-1.5, 1.5))
@example(0, 1e-8)
def test_the_likelihood_does_not_see_what_the_reconstruction_sees(seed, angle):
    padding = Padding(dim=2, data=1, labels=1, latent=1, noise=0.3)
    x, y = torch.randn(50, 1, generator=random(seed), dtype=torch.float64), torch.zeros(50, 1, dtype=torch.float64)
    straight, turned = (ConditionalModel(Turn(a, 0.3, 0.05), Latent.normal(1), padding) for a in (0.0, angle))
    objective = LikelihoodObjective(label_scale=0.05, reconstruction=2.0)
    one, other = (objective(model, x, y, 0.0, random(seed)) for model in (straight, turned))
    own, moved = one.pop("reconstruction"), other.pop("reconstruction")
    # x is normal, and so is the noise: a turn of the two changes no density
    assert float(sum(one.values())) == pytest.approx(float(sum(other.values())), rel=1e-9)
    a = padding.pad_data(x, random(seed))[:, :1] / 0.3
    c, s = math.cos(angle), math.sin(angle)
    # each entry of the difference is off by some roundings of x: a sum of squares m by their product with its root
    size, rounding = float(x.abs().max() + a.abs().max()), 32 * torch.finfo(torch.float64).eps
    expected = float(2 * (s * s * x - s * c * a).square().mean())
    assert float(own) <= 2 * (rounding * size) ** 2
    assert (
        abs(float(moved) - expected) <= 4 * rounding * size * math.sqrt(expected) + 2 * (rounding * size) ** 2 + 1e-12 * expected
    )
    # at y itself the turned one draws from N(0, cos^2)
    draws = turned.posterior(y[:1], 20_000, random(seed)).std()
    assert float(draws) == pytest.approx(abs(c), rel=0.03)  # 6 deviations of a sample's deviation, 1 / sqrt(40,000)


def two_lines(n, generator):
    """y_1 = sin(x_1) tells nothing of x_2, which lies at -1 (a quarter) or 1, of width 0.1."""
    first = torch.randn(n, 1, generator=generator)
    side = torch.where(torch.arange(n)[:, None] % 4 == 0, -1.0, 1.0)
    x = torch.cat((first, side + 0.1 * torch.randn(n, 1, generator=generator)), dim=1)
    return x, torch.sin(0.5 * first)


LINES = Conditional(
    CouplingFlow(dim=2, blocks=4, hidden=24, depth=1),
    Padding(dim=2, data=2, labels=1, latent=1, noise=0.0),
    MixtureLatent(means=((-2.0,), (2.0,)), scale=0.3, hidden=8, depth=1),
)


def test_likelihood_training_finds_labels_modes_and_probabilities():
    model = build_conditional(LINES, seed=0)
    objective = LikelihoodObjective(label_scale=Geometric(0.5, 0.03, until=0.6), spread=Geometric(0.3, 1.0, until=0.4))
    settings = Optimization(700, (Group("", Cosine(1e-2)),), clip_norm=20.0)
    fit_conditional(model, two_lines, objective, settings, batch=256, seed=0)
    y = torch.tensor([[-0.3], [0.3]])
    samples = model.posterior(y, 4000, random(1))
    assert (torch.sin(0.5 * samples[..., 0]) - y).abs().mean() < 0.05
    shares = (samples[..., 1] < 0).double().mean(1)
    assert (shares - 0.25).abs().max() < 0.06  # the truth; counts of 4000 have a standard error of 0.007
    assert (samples[..., 1].abs() - 1).abs().mean() < 0.15  # 0.08 is exact
    # control: with one component the modes cannot part without a bridge of samples
    plain = build_conditional(Conditional(LINES.flow, LINES.padding, Latent.normal(1)), seed=0)
    fit_conditional(plain, two_lines, objective, settings, batch=256, seed=0)
    between = lambda one: (one.posterior(y, 4000, random(1))[..., 1].abs() < 0.5).double().mean()
    assert between(model) < between(plain)


def test_the_papers_losses_train():
    model = build_conditional(LINES, seed=0)
    values = []
    objective = PaperObjective(labels=5.0, data_metric=Wasserstein1(), temperature=0.2)
    settings = Optimization(150, (Group("", 1e-2, clip_value=15.0),))
    fit_conditional(
        model, two_lines, objective, settings, batch=128, seed=0, every=1, callback=lambda step, terms: values.append(terms)
    )
    first, last = (sum(float(sum(terms.values())) for terms in part) for part in (values[:5], values[-5:]))
    assert last < 0.5 * first


def test_nan_names_the_layer_and_the_step():
    model = build_conditional(LINES, seed=0)
    with torch.no_grad():
        model.flow.layers[3].subnet_1.layers[0].bias[0] = torch.nan
    with pytest.raises(NotConverged, match=r"step 0.*layers.3 \(TwoSidedCoupling\) forward, layers.3 \(TwoSidedCoupling\) back"):
        fit_conditional(model, two_lines, LikelihoodObjective(), Optimization(3), batch=8, seed=0)

    def broken(n, generator):
        x, y = two_lines(n, generator)
        x[0, 0] = torch.nan
        return x, y

    with pytest.raises(InvalidInput, match="finite rows"):
        fit_conditional(build_conditional(LINES, seed=0), broken, LikelihoodObjective(), Optimization(3), batch=8, seed=0)
    assert first_bad_layer(coupling_flow(FLOW, seed=0), torch.zeros(2, 6)) is None
    assert first_bad_layer(coupling_flow(FLOW, seed=0), torch.full((2, 6), torch.inf)) == "layers.0 (FixedPermutation)"


def test_a_conditional_training_resumes_bit_for_bit(tmp_path):
    settings = Optimization(20, (Group("", Cosine(1e-2)), Group("latent.", 1e-3)))
    objective = PaperObjective(temperature=Geometric(1.0, 0.1), sparsity=0.1)
    whole = build_conditional(LINES, seed=0)
    fit_conditional(whole, two_lines, objective, settings, batch=16, seed=0)

    def interrupt(step, terms):
        if step == 12:
            raise KeyboardInterrupt

    part = build_conditional(LINES, seed=0)
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        fit_conditional(part, two_lines, objective, settings, batch=16, seed=0, state=path, every=4, callback=interrupt)
    fresh = build_conditional(LINES, seed=3)
    fit_conditional(fresh, two_lines, objective, settings, batch=16, seed=0, state=path, every=4)
    for (name, value), other in zip(fresh.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("latent", [MIXTURE, Latent(((0.0,), (1.0,)), 0.5)])
def test_model_checkpoints(tmp_path, latent):
    described = Conditional(FLOW, SIZES, latent)
    model = build_conditional(described, seed=4)
    if latent == MIXTURE:
        model.latent.means.mul_(3.0)  # as set from the image
    save_model(tmp_path / "model", model, described)
    again, read = load_model(tmp_path / "model")
    assert read == described
    y = torch.randn(2, 2, generator=random())
    assert torch.equal(again.posterior(y, 5, random(1)), model.posterior(y, 5, random(1)))
    save_flow(tmp_path / "flow", model.flow, FLOW)
    data = (tmp_path / "model").read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    for name in ("flow", "half", "absent"):
        with pytest.raises(InvalidInput, match="save_model"):
            load_model(tmp_path / name)
    with torch.no_grad():
        next(model.flow.parameters())[0] = torch.nan
    save_model(tmp_path / "nan", model, described)
    with pytest.raises(InvalidInput, match="not finite"):
        load_model(tmp_path / "nan")


def test_means_from_the_image_of_the_classes():
    flow = coupling_flow(FLOW, seed=0)
    x = torch.randn(9, 6, generator=random())
    classes = torch.tensor([0, 1, 2] * 3)
    means = means_from_image(flow, x, classes, SIZES, factor=4.0)
    with torch.no_grad():
        for index in range(3):
            torch.testing.assert_close(means[index], 4 * flow(x[classes == index])[:, 5:].mean(0))
    for bad in (torch.tensor([0, 2, 2] * 3), torch.zeros(4, dtype=torch.int64)):
        with pytest.raises(InvalidInput):
            means_from_image(flow, x, bad, SIZES, factor=4.0)


def test_the_generator_at_a_label():
    model = model_of()
    y = torch.tensor([0.3, -0.2], dtype=torch.float64)
    z = torch.randn(4, 1, generator=random(), dtype=torch.float64)
    whole = torch.cat((y.expand(4, 2), torch.zeros(4, 3, dtype=torch.float64), z), dim=1)
    np.testing.assert_array_equal(model.generator_at(y)(z).detach(), model.flow.inverse(whole)[:, 4:].detach())


@pytest.mark.parametrize("latent", [MIXTURE, Latent.normal(1)])
def test_labels_that_are_missing_or_of_another_shape(latent):
    model = model_of(latent)
    x, y = batch()
    for bad in (y[:, :1], y[:3], torch.full_like(y, torch.nan), y[:0]):
        with pytest.raises(InvalidInput):
            PaperObjective()(model, x, bad, 0.0, random())
        with pytest.raises(InvalidInput):
            LikelihoodObjective()(model, x, bad, 0.0, random())
    with pytest.raises(InvalidInput):
        PaperObjective()(model, torch.zeros(0, 2), y[:0], 0.0, random())
    with pytest.raises(InvalidInput):
        Conditional(FLOW, SIZES, Latent.normal(2))
    sizes = Padding(dim=6, data=2, labels=2, latent=1, noise=0.0)
    model = build_conditional(Conditional(FLOW, sizes, latent), seed=0).double()
    with pytest.raises(InvalidInput, match="zero padding has no density"):
        LikelihoodObjective()(model, x, y, 0.0, random())
