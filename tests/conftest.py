"""Sets the stage for every test: few threads, no display, no network, the same random numbers each time."""

from __future__ import annotations

import os
import shutil
import tempfile

# Before torch and NumPy are imported, and for programs that tests start. One thread each under pytest-xdist:
# its workers are what runs side by side.
os.environ.update(
    dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        "1" if "PYTEST_XDIST_WORKER" in os.environ else "2",
    )
)
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
# Converted networks are kept in a folder of this run's own, which workers and programs that tests start share.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["SEEWHY_CACHE"] = tempfile.mkdtemp(prefix="seewhy-tests-")

import hypothesis
import pytest
import torch

# A slow machine is no failing property, and a failure must come back when the test runs again.
hypothesis.settings.register_profile("seewhy", deadline=None, derandomize=True)
hypothesis.settings.load_profile("seewhy")


def pytest_configure() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_unconfigure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["SEEWHY_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU, and this machine has none"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seeds torch's global generator, so that random weights and inputs repeat in any order of tests."""
    torch.manual_seed(0)
