"""One town for all flow tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.town import Town, town


@pytest.fixture(scope="session")
def the_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("town")) as started:
        yield started
