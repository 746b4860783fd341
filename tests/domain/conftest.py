"""Golden files: `pytest tests/domain --update-golden` writes what the code says now; review the diff."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with its file, or write the file."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden", default=False):
            path.write_text(text)
        assert path.exists(), f"{path.name} is missing; run with --update-golden and read it"
        assert text == path.read_text()

    return compare
