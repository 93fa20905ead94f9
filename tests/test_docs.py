"""The documentation's check in `.ci/run` can fail."""

import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("mkdocs", reason="builds the documentation, which the extra `docs` is for")

ROOT = pathlib.Path(__file__).parents[1]
# As it stands in .ci/run: an option there, like the `--quiet` that hid all warnings, is tried here.
(COMMAND,) = (
    line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("mkdocs ")
)


@pytest.mark.parametrize("broken", (False, True), ids=("sound", "broken"))
def test_a_broken_link_fails_the_documentation(broken, tmp_path):
    for name in ("mkdocs.yml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "jaxinfo"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    if broken:
        with (tmp_path / "docs/maps.md").open("a") as page:
            page.write("\n[a page that nobody wrote](nowhere.md)\n")
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(COMMAND)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode != 0) == broken, done.stderr
    assert ("nowhere.md" in done.stderr) == broken
