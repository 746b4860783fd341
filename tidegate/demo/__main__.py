"""`python -m tidegate.demo`: the story, and nothing else of the command line."""

from __future__ import annotations

import sys

from tidegate.demo.story import demo
from tidegate.errors import TidegateError


def main() -> int:
    """Play it; one sentence instead of a traceback for what we know can go wrong."""
    try:
        return demo()
    except TidegateError as error:
        print(f"tidegate demo: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
