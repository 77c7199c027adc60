"""Options and data that the whole suite shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from helpers.small import parts, small_trainer  # noqa: F401 - fixtures for every room
from hypothesis import settings

from cellclf.utils.backend import chosen_backend

# the gate draws the same examples each time; `pytest --hypothesis-profile random` draws others
settings.register_profile("cellclf", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("random", deadline=None, max_examples=100, print_blob=True)
settings.load_profile("cellclf")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow: run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)
    if chosen_backend()[0] != "tensorflow":
        for item in items:
            for mark in item.iter_markers("tensorflow"):
                item.add_marker(pytest.mark.skip(reason=f"only on TensorFlow: {mark.args[0]}"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with the real images, or skip."""
    root = os.environ.get("CELLCLF_DATA")
    if not root or not (Path(root) / "data").is_dir():
        pytest.skip("real images: set CELLCLF_DATA to the folder that holds data/ and weights/")
    return Path(root)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell that runs the tests in its background ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
