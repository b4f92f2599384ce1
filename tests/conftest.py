"""Hypothesis profiles, and the trained networks that tests share."""

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # experiments run in the process of the test: the other core has tests, too

import pytest
from hypothesis import HealthCheck, settings

from tests.brief import briefly  # noqa: F401 (a fixture)

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=60,  # the suite is to end within 12 minutes on two cores, on a slow day too; `make hunt` looks longer
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("hunt", max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("LIPBOUNDS_PROFILE", "ci"))


# files whose tests compile the kernel of boxes of data, which takes a minute: one process does it
KERNEL = {"test_preimage.py", "test_evaluators.py", "test_certificates_of_activations.py", "test_oriented_boxes.py"}
KERNEL |= {"test_bench_lipschitz.py", "test_measure.py"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of a file share a process, and so its fixtures; tests of the kernel share one, too."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::", 1)[0]
            return "kernel" if Path(path).name in KERNEL else path

    return ByFile(config, log)


@pytest.fixture(scope="session")
def trained_normal():
    """A small flow trained on two modes of width 0.25 with a standard normal latent."""
    from experiments.sigma_sweep import two_mode_batches
    from inn import CouplingFlow, Ensemble, Latent, Training, coupling_flow, train

    ensemble = Ensemble([coupling_flow(CouplingFlow(blocks=4, hidden=24), seed=5)])
    train(ensemble, two_mode_batches([0.25]), Latent.normal(2), Training(steps=500, batch=192), seed=1)
    return ensemble.networks()[0]


class ClosestCalls:
    """The smallest slack of every statement over a session; the hunt profile writes it to a file."""

    def __init__(self):
        self.found = {}

    def add(self, name, verdict):
        if verdict.slack < self.found.get(name, (float("inf"), ""))[0]:
            self.found[name] = (verdict.slack, verdict.reason)


@pytest.fixture(scope="session")
def closest_calls():
    calls = ClosestCalls()
    yield calls
    if os.environ.get("LIPBOUNDS_PROFILE") == "hunt" and calls.found:
        path = Path("results/hunt/closest-calls.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {name: {"slack": slack, "sides": reason} for name, (slack, reason) in sorted(calls.found.items())}
        path.write_text(json.dumps(content, indent=2) + "\n")
