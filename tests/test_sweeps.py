"""NaN, narrow numbers and nothing, in every public function: `python tests/sweeps.py` tries all dtypes."""

import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).parent / "sweeps.py"


def test_every_public_function_with_nan_narrow_numbers_and_nothing():
    done = subprocess.run([sys.executable, PROGRAM, "--few"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
