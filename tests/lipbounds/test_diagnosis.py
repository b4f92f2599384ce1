"""The sandwich of a user's model: known generators, flows of other libraries as they are, bad input, page and command line."""

import importlib
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import norm

from inn import CouplingFlow, coupling_flow
from lipbounds import diagnose, standard_normal
from lipbounds.__main__ import main
from lipbounds.diagnosis import Modes
from lipbounds.diagnosis.report import write_report
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.model import as_model
from lipbounds.measures import GaussianMixture
from lipbounds.search import InversionError, lipschitz_from_generated
from tests.brief import brief_search

SIGMA = 0.2


def two_modes(n, dim, seed=0, sigma=SIGMA):
    rng = np.random.default_rng(seed)
    x = sigma * rng.standard_normal((n, dim))
    x[:, 0] += rng.choice([-1.0, 1.0], n)
    return x


class Tearing(torch.nn.Module):
    """f(z) = (2 tanh(K z_1) / 2 + sigma z_1, sigma z_2): two modes, with a known constant K + sigma and a known inverse."""

    def __init__(self, steepness=20.0):
        super().__init__()
        self.steepness = steepness

    def inverse(self, z):
        first = torch.tanh(self.steepness * z[:, :1]) + SIGMA * z[:, :1]
        return torch.cat((first, SIGMA * z[:, 1:]), 1)

    def forward(self, x):
        low, high = torch.full_like(x[:, :1], -50.0), torch.full_like(x[:, :1], 50.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = torch.tanh(self.steepness * middle) + SIGMA * middle > x[:, :1]
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return torch.cat((0.5 * (low + high), x[:, 1:] / SIGMA), 1)


@pytest.fixture
def small(monkeypatch):
    """Fewer points, where the test does not look at them."""
    blind = partial(lipschitz_from_generated, steps=60)
    names = {"GENERATED": 4_000, "TRANSPORTED": 500, "lipschitz_from_generated": blind}
    with brief_search(**{f"lipbounds.diagnosis.generated.{name}": value for name, value in names.items()}):
        # the package has a function of this module's name
        monkeypatch.setattr(importlib.import_module("lipbounds.diagnosis.diagnose"), "SHARES", (0.2,))
        yield


@pytest.fixture(scope="module")
def torn():
    said = []
    return diagnose(Tearing(), data=two_modes(2000, 2), seconds=1.0, progress=lambda event: said.append(event.stage)), said


def test_a_known_generator(torn):
    found, said = torn
    assert found.found.lower == pytest.approx(20.0 + SIGMA, rel=1e-4)
    assert found.both.shrink.lower == pytest.approx(1 / SIGMA, rel=1e-3)
    assert len(found.modes.means) == 2
    assert found.generated_shares == pytest.approx([0.5, 0.5], abs=0.03)
    # the mass between the modes: |tanh(20 z) + 0.2 z| far from both means
    assert 0.0 < found.between < 0.08
    # the order of the sandwich
    assert 1.0 < found.forced.lower < found.found.lower
    assert 1.0 < found.black_box.lower < found.found.lower
    assert found.forced.guarantee is Guarantee.ESTIMATE
    assert set(found.torn_pair) == set(found.forcing_pair) == {0, 1}
    assert found.certified is None
    assert found.certified_note == "unavailable, no structure"
    assert isinstance(found.inversion.float64, InversionError)
    assert found.inversion.float32.lower > found.inversion.float64.lower
    # one component for each mode: no tearing, and the cost is about that of the widths
    assert found.recommended.components == 2
    assert found.recommended.cost < 0.3 < found.latents[0].cost
    means = np.array(found.recommended.means)
    assert np.linalg.norm(means[0] - means[1]) >= 8.0 - 1e-9
    assert found.recommended.widths == pytest.approx([SIGMA, SIGMA], rel=0.1)
    assert "2 modes" in found.verdict
    assert "2 components" in found.verdict
    assert len(said) >= 5


def test_nothing_that_is_shown_exceeds_the_constant_found(torn):
    found, _ = torn
    # forward differences and pairs lose 1e-7 against the derivative
    assert found.found.lower >= found.plane.steepest * (1 - 1e-6)
    assert found.found.lower >= found.both.stretch.lower
    assert found.found.lower >= max(one.lower for one in found.steepness.quantiles) * (1 - 1e-6)
    # steep is the layer about z_1 = 0 alone; elsewhere the map stretches by its width
    assert found.steepness.quantiles[0].lower < 0.5
    assert found.steepness.quantiles[0].upper < found.steepness.quantiles[1].upper
    assert "At half of the latent draws" in found.verdict


def test_the_page_and_the_figure(torn, tmp_path):
    paths = write_report(torn[0], tmp_path / "report")
    assert [path.name for path in paths] == ["diagnosis.png", "diagnosis.html"]
    page = paths[1].read_text()
    assert torn[0].verdict.replace("'", "&#x27;") in page
    for address in ("http://", "https://", 'src="/', "@import"):
        assert address not in page
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["diagnosis.html", "diagnosis.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="--out"):
        write_report(torn[0], tmp_path / "file" / "below")


@pytest.mark.usefixtures("small")
def test_one_mode_needs_no_mixture():
    found = diagnose(lambda z: 0.5 * z, data=0.5 * np.random.default_rng(0).standard_normal((1000, 3)), seconds=1.0)
    assert len(found.modes.means) == 1
    assert found.recommended.components == 1
    assert found.torn_pair is None
    assert found.forced.lower <= found.found.lower == pytest.approx(0.5)
    assert "single Gaussian" in found.verdict
    assert found.inversion.float32 == "unavailable, no inverse of the generator"


@pytest.mark.usefixtures("small")
def test_a_structured_network_is_certified_and_a_mixture_latent_has_components():
    flow = coupling_flow(CouplingFlow(blocks=1, hidden=4, activation="tanh"), seed=0)
    z = standard_normal(2).sample(1000, np.random.default_rng(0))
    with torch.no_grad():
        data = flow.inverse(torch.tensor(z, dtype=torch.float32)).numpy()
    found = diagnose(flow, data=data, seconds=10.0)
    assert found.certified.guarantee is Guarantee.CERTIFIED
    assert found.certified.lower <= found.certified.upper < 1.1 * found.found.lower
    assert found.accuracy.upper < 1.3 * found.floor
    assert next(flow.parameters()).dtype == torch.float32  # the user's own stays as it is
    # the identity on two far components: pooled, the black box would say hundreds
    latent = GaussianMixture([[-5.0, 0.0], [5.0, 0.0]], [np.eye(2)] * 2)
    x = latent.sample(2000, np.random.default_rng(1))
    mixed = diagnose(lambda z: 1.0 * z, data=x, latent=latent, seconds=1.0)
    assert mixed.black_box.lower <= 1.0 == pytest.approx(mixed.found.lower)
    assert mixed.forced.lower == 0.0
    assert len(mixed.modes.means) == 2


def test_modes_far_points():
    modes = Modes(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0.1, 0.2]), np.array([0.5, 0.5]))
    points = np.random.default_rng(0).standard_normal((200_000, 2)) * 0.2 + [1.0, 0.0]
    # outside the ball of mass 0.999 about the second; none is near the first
    assert modes.outside(points).mean() == pytest.approx(1e-3, abs=3e-4)
    assert modes.nearest(np.array([[-0.4, 0.0], [0.2, 0.0]])).tolist() == [0, 1]  # in widths: 6 against 7, 12 against 4


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"data": np.zeros((10, 2))}, "data"),
        ({"data": np.full((300, 2), np.nan)}, "data"),
        ({"data": two_modes(300, 3), "model": lambda z: z[:, :2]}, "model"),
        ({"model": "flow"}, "model"),
        ({"model": lambda z: z[:10]}, "f"),
        ({"model": lambda z: z * float("nan")}, "f"),
        ({"model": torch.nn.Linear(3, 3)}, "model"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"latent": GaussianMixture([[0.0, 0.0]], [np.diag([1.0, 2.0])])}, "latent"),
    ],
)
def test_bad_input(change, name):
    with pytest.raises(InvalidInput, match=f"^{name}: got"):
        diagnose(**({"model": lambda z: z, "data": two_modes(300, 2), "seconds": 1.0} | change))


def test_a_swapped_direction_is_refused():
    with pytest.raises(InvalidInput, match="latent to data"):
        diagnose(Tearing().forward, data=two_modes(500, 2), seconds=1.0)


# ---- flows of other libraries, as they are


def zuko_flow():
    zuko = pytest.importorskip("zuko")
    return zuko.flows.MAF(2, transforms=2, hidden_features=(8,))


def freia_flow():
    framework, modules = pytest.importorskip("FrEIA.framework"), pytest.importorskip("FrEIA.modules")
    flow = framework.SequenceINN(2)
    for _ in range(2):
        net = lambda a, b: torch.nn.Sequential(torch.nn.Linear(a, 8), torch.nn.ReLU(), torch.nn.Linear(8, b))
        flow.append(modules.GLOWCouplingBlock, subnet_constructor=net)
    return flow


def normflows_flow():
    nf = pytest.importorskip("normflows")
    layers = [nf.flows.AffineCouplingBlock(nf.nets.MLP([1, 8, 2], init_zeros=False)), nf.flows.Permute(2, mode="swap")]
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), layers)


def nflows_flow():
    transforms = pytest.importorskip("nflows.transforms")
    flows, distributions = pytest.importorskip("nflows.flows"), pytest.importorskip("nflows.distributions")
    layer = transforms.MaskedAffineAutoregressiveTransform(features=2, hidden_features=8)
    return flows.Flow(transforms.CompositeTransform([layer]), distributions.StandardNormal([2]))


MAKERS = {"zuko": zuko_flow, "FrEIA": freia_flow, "normflows": normflows_flow, "nflows": nflows_flow}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("library", sorted(MAKERS))
def test_flows_of_other_libraries(library):
    torch.manual_seed(0)
    flow = MAKERS[library]()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    generator = as_model(flow)
    assert generator.source == library
    z = torch.tensor([[0.3, -0.7], [1.2, 0.4]], dtype=torch.float64)
    x = generator.inverse(z)
    assert x.dtype == torch.float64
    assert float((x - z).abs().max()) > 0.01  # not the identity
    torch.testing.assert_close(generator.forward(x), z, rtol=1e-6, atol=1e-6)
    # the direction: densities of the library agree with T = forward
    x32 = x.float()
    base = torch.distributions.Normal(0.0, 1.0)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda p: generator.forward(p[None])[0], row) for row in x])
    expected = base.log_prob(z.float()).sum(1) + jacobian.det().abs().log().float()
    if library == "zuko":
        torch.testing.assert_close(flow().log_prob(x32), expected, rtol=1e-3, atol=1e-3)
    elif library == "FrEIA":
        image, log_det = flow(x32)
        torch.testing.assert_close(base.log_prob(image).sum(1) + log_det, expected, rtol=1e-3, atol=1e-3)
    else:
        torch.testing.assert_close(flow.log_prob(x32), expected, rtol=1e-3, atol=1e-3)
    assert next(flow.parameters()).dtype == torch.float32
    found = diagnose(flow, data=generator.inverse(torch.randn(400, 2, dtype=torch.float64)).detach().numpy(), seconds=1.0)
    assert found.found.lower > 0
    assert isinstance(found.inversion.float32, InversionError)


# ---- the command line

MODEL = """
import torch

def make_flow():
    return lambda z: torch.cat((torch.tanh(20 * z[:, :1]) + 0.2 * z[:, :1], 0.2 * z[:, 1:]), 1)

def broken():
    raise RuntimeError("no weights")
"""


def test_command_line(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    np.save(tmp_path / "x.npy", two_modes(600, 2))
    command = [sys.executable, "-m", "lipbounds", "diagnose", f"{tmp_path}/model.py:make_flow", "--data", f"{tmp_path}/x.npy"]
    done = subprocess.run([*command, "--out", f"{tmp_path}/out", "--seconds", "1"], capture_output=True, text=True, check=True)
    assert "2 modes" in done.stdout
    assert (tmp_path / "out" / "diagnosis.html").exists()


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("model.py:missing", "x.npy", "MODEL"),
        ("model.py:broken", "x.npy", "no weights"),
        ("absent.py:make_flow", "x.npy", "MODEL"),
        ("make_flow", "x.npy", "MODEL"),
        ("model.py:make_flow", "absent.npy", "--data"),
        ("model.py:make_flow", "model.py", "--data"),
        ("model.py:make_flow", "short.npy", "data"),
    ],
)
def test_command_line_errors_are_one_line(tmp_path, capsys, model, data, words):
    (tmp_path / "model.py").write_text(MODEL)
    np.save(tmp_path / "x.npy", two_modes(300, 2))
    np.save(tmp_path / "short.npy", np.zeros((3, 2)))
    name = model if ":" not in model else f"{tmp_path}/{model}"
    assert main(["diagnose", name, "--data", f"{tmp_path}/{data}", "--out", f"{tmp_path}/out"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("...")]
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small")
def test_forced_is_below_the_exact_frontier_value():
    # one dimension, the monotone map exactly: the least constant at accuracy e is known to be below Lip(f) only
    x = np.random.default_rng(0).permutation(norm.ppf((np.arange(4000) + 0.5) / 4000))[:, None]
    found = diagnose(lambda z: 3.0 * z, data=3.0 * x, seconds=1.0)
    assert math.isclose(found.found.lower, 3.0)
    assert 2.0 < found.forced.lower <= 3.0
