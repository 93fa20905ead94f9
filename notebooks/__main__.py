"""Run every notebook's code from top to bottom, each in a process of its own: `python notebooks`."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent


def code_of(notebook: pathlib.Path) -> str:
    """The code cells of a notebook as one program."""
    cells = json.loads(notebook.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def main() -> int:
    failed = []
    for notebook in sorted(HERE.glob("*.ipynb")):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, notebook.stem + ".py")
            program.write_text(code_of(notebook))
            done = subprocess.run(
                [sys.executable, program],
                cwd=HERE,  # as in Jupyter
                env={**os.environ, "MPLBACKEND": "agg"},
            )
        if done.returncode:
            failed.append(notebook.name)
        print(f"{notebook.name}: {time.perf_counter() - started:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
