"""The house is as it is drawn: arrows go down, optional parts are optional, classes are final."""

import ast
import pathlib
import subprocess
import sys

import pytest

import jaxinfo

PACKAGE = pathlib.Path(jaxinfo.__file__).parent
FLOORS = {
    **dict.fromkeys(("_core", "activations", "surrogate", "ops", "metrics", "io"), 0),
    **dict.fromkeys(("info", "maps", "data"), 1),
    **dict.fromkeys(("network", "patterns"), 2),
    **dict.fromkeys(("ei", "connectivity"), 3),
    "train": 4,
    **dict.fromkeys(("report", "__main__"), 5),
}
# Arrows between rooms of one floor.
SIDEWAYS = {
    *((room, "_core") for room in ("activations", "surrogate", "ops", "metrics", "io")),
    ("surrogate", "activations"),
    ("patterns", "network"),
    ("__main__", "report"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file):
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(file):
    """The rooms that a file imports from, wherever in the file."""
    package = ["jaxinfo", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            targets = [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "jaxinfo" and len(target) > 1:
                yield target[1]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_down_only(file):
    room = room_of(file)
    if room == "__init__":
        return
    for other in imported_rooms(file):
        if other in FLOORS and other != room:
            below = FLOORS[other] < FLOORS[room]
            assert below or (room, other) in SIDEWAYS, f"{room} imports {other}"


def test_every_room_has_a_floor():
    rooms = {room_of(file) for file in FILES} - {"__init__"}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_import_inside_a_function_but_of_what_is_optional(file):
    for function in ast.walk(ast.parse(file.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"line {node.lineno}"
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = (
                        [node.module]
                        if isinstance(node, ast.ImportFrom)
                        else [alias.name for alias in node.names]
                    )
                    assert all(n.split(".")[0] in ("networkx",) for n in names), (
                        f"line {node.lineno}"
                    )


def test_import_needs_nothing_optional_and_does_nothing():
    program = (
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'networkx', 'beartype'): sys.modules[name] = None\n"
        "import jax\n"
        "before = dict(jax.config.values)\n"
        "import jaxinfo\n"
        "assert dict(jax.config.values) == before, 'a global option was changed'\n"
        "print(jaxinfo.__version__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == jaxinfo.__version__


def test_what_is_missing_is_named():
    program = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from jaxinfo.__main__ import main\n"
        "sys.exit(main(['demo', '--samples', '1000', '--bins', '2']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'jaxinfo[report]'" in done.stderr


def test_no_path_of_a_workplace():
    for file in FILES:
        text = file.read_text()
        assert "/work/" not in text and "/root/" not in text, file
