"""Only what calls itself retryable is tried again, in async tasks too."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.flows.town import Town
from tidegate.running.up import ROOT, client_settings


def test_an_error_says_itself_whether_trying_again_may_help(the_town: Town) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.flaky"],
        cwd=ROOT,
        env={**os.environ, **client_settings(the_town.platform.home, the_town.platform.api)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    tries = json.loads(done.stdout.splitlines()[-1])
    assert tries == {"away": 3, "refused": 1, "misspelt": 1, "mistake": 1, "away, once": 1}
