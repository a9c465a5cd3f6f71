"""A minute of what `make soak` does for an hour."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_minute_of_everything_loses_and_leaks_nothing() -> None:
    subprocess.run([sys.executable, "-m", "tests.soak", "--seconds", "60"], cwd=ROOT, check=True, timeout=400)
