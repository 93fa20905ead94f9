"""The oldest versions that are allowed are written down once more, for pip, and agree."""

import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parents[1]


def test_the_constraints_are_the_floors_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["torch"], *extras["report"], *extras["test-core"]]
    wanted += [each for each in extras["test"] if each.startswith("expecttest")]
    floors = dict(each.split(">=") for each in wanted if not each.startswith("jaxinfo["))
    lines = (ROOT / "tests/floors.txt").read_text().splitlines()
    written = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert written == floors


def test_users_of_torch_meet_no_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["torch"] == ["torch>=2.6"]
