"""`tidegate run` against a real Prefect server: what it starts, follows, and says at the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Shop


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """The address of a Prefect server that knows our deployment; there is no runner, so runs wait."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    async def register() -> None:
        async with get_client() as client:
            flow = await client.create_flow_from_name("pipeline")
            schema = {
                "type": "object",
                "properties": {"app": {"type": "string"}, "revision": {"type": "string"}},
            }
            await client.create_deployment(flow, "pipeline", parameter_openapi_schema=schema)

    with prefect_test_harness(server_startup_timeout=180):
        asyncio.run(register())
        yield str(PREFECT_API_URL.value())


async def ended(api: str, state: Any) -> dict[str, Any]:
    """Wait for the one unfinished run, end it, and return its parameters."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    async with get_client() as client:
        while True:
            runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter())
            open_runs = [r for r in runs if r.state is None or not r.state.is_final()]
            if open_runs:
                await client.set_flow_run_state(open_runs[0].id, state, force=True)
                return dict(open_runs[0].parameters)
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(("name", "code"), [("Completed", 0), ("RolledBack", 1), ("Crashed", 3)])
def test_a_run_is_followed_to_its_end_and_its_answer_is_the_exit_code(
    shop: Shop, api: str, name: str, code: int
) -> None:
    from prefect.states import Completed, Crashed, Failed

    states = {
        "Completed": Completed(message="shop is live"),
        "RolledBack": Failed(name="RolledBack", message="errors: ratio 3.1"),
        "Crashed": Crashed(message="killed"),
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "tidegate.cli", "run", "shop", "--revision", "3f2a91c", "--wait"],
        env={**os.environ, **shop.env, "PREFECT_API_URL": api},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    parameters = asyncio.run(asyncio.wait_for(ended(api, states[name]), 120))
    out, err = child.communicate(timeout=60)
    assert parameters == {"app": "shop", "revision": "3f2a91c"}
    assert (child.returncode, err) == (code, "")
    assert "/runs/flow-run/" in out.splitlines()[0]
    assert out.splitlines()[-1].endswith(f"{name}  {states[name].message}")


def test_an_unknown_application_is_refused_before_anything_is_asked(shop: Shop) -> None:
    gone = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    assert "no application 'shp'; did you mean 'shop'?" in shop("run", "shp", code=2, env=gone).err
