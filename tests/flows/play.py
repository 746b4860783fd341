"""Play one flow as a program: `python -m tests.flows.play deliver app=shop`; prints its final state as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module


async def main(name: str, parameters: dict[str, str]) -> None:
    flow = getattr(import_module(f"flows.{name}"), name)
    state = await flow(**parameters, return_state=True)
    print(json.dumps({"type": state.type.value, "name": state.name, "message": state.message}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])))
