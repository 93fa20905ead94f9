"""Bad arguments end in words: every public function, a few bad values of each argument.

`python tests/bad_calls.py` tries all of them.
"""

import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).parent / "bad_calls.py"


def test_bad_calls_end_in_words():
    command = [sys.executable, PROGRAM, "--few", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
