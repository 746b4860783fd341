"""What every suite may ask for: the programs of the real control plane, or a skip that says why there are none."""

from __future__ import annotations

import os

import pytest

from tests.controlplane.build import Missing, Programs, find

REQUIRED = "TIDEGATE_CONTROLPLANE"
"""`required` makes a missing control plane a failure: where it must be there, a skip would hide that it is not."""


@pytest.fixture(scope="session")
def kubernetes_programs() -> Programs:
    try:
        return find()
    except Missing as why:
        if os.environ.get(REQUIRED) == "required":
            raise
        pytest.skip(f"no real control plane here: {why}")
