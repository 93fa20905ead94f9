"""Bad arguments end in words, in the rooms whose functions stand behind the public door."""

import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).parent / "bad_calls.py"


@pytest.mark.parametrize(
    "room", ["activations", "surrogate", "ops", "metrics", "info", "connectivity"]
)
def test_bad_calls_end_in_words(room):
    done = subprocess.run([sys.executable, PROGRAM, room], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
