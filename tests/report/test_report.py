"""Reports hold what was measured, and their pages stand alone."""

import json
import os
import re
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from models import convolutional

from jaxinfo import report, topology_of
from jaxinfo.__main__ import _print_table, main
from jaxinfo.ei import ei_parts, ei_parts_matrix, sensitivity
from jaxinfo.report._report import as_row

KEY = jr.key(2)
FACTORY = """
import equinox as eqx, jax
def make():
    return eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=jax.random.key(0))
def shifted():
    return jax.tree_util.tree_map(lambda a: a + 1 if eqx.is_array(a) else a, make())
"""


@pytest.fixture(scope="module")
def analyzed():
    model = eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=jr.key(0))
    topology = topology_of(model, jnp.zeros(3))
    return topology, report.analyze(topology, key=KEY, title="A <b> model", samples=5000, bins=4)


def test_numbers_are_those_of_the_functions(analyzed):
    topology, found = analyzed
    layer = found.layers[0]
    options = {"key": KEY, "in_bins": 4, "out_bins": 4}
    parts = ei_parts("layers.0", topology, samples=5000, **options)
    alone = sensitivity("layers.0", topology, samples=500, **options)
    matrix = ei_parts_matrix("layers.0", topology, samples=5000, **options)
    assert np.isclose(layer.estimates["ei_parts"].value, parts, atol=1e-5)
    assert np.isclose(layer.estimates["sensitivity"].value, alone, atol=1e-5)
    assert np.allclose(layer.matrix, matrix, atol=1e-5)
    assert np.isclose(layer.degeneracy, alone - parts, atol=1e-5)
    assert set(found.graph) == {"determinism", "degeneracy", "ei"}


def test_files(analyzed, tmp_path):
    _, found = analyzed
    page = report.write_report(found, tmp_path / "out")
    text = page.read_text()
    assert "A &lt;b&gt; model" in text and "<b> model" not in text
    assert text.count("<svg") == len(list((tmp_path / "out" / "figures").glob("*.svg"))) == 5
    # Self-contained: no address is fetched when the page is opened.
    assert not re.findall(
        r"""(?:src|href)\s*=\s*["']https?:""", re.sub(r"xlink:href|xmlns\S*", "", text)
    )
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["units"] == "bits"
    assert [layer["name"] for layer in numbers["layers"]] == ["layers.0", "layers.1"]
    assert np.shape(numbers["layers"][0]["ei_matrix"]) == (3, 4)
    # Again into the same folder: the same files.
    assert report.write_report(found, tmp_path / "out").read_text() == text


def test_page_and_terminal_show_the_same_row(analyzed, capsys, tmp_path):
    _, found = analyzed
    page = report.write_report(found, tmp_path / "out").read_text()
    _print_table(found)
    printed = capsys.readouterr().out
    for layer in found.layers:
        row = as_row(layer)
        cells = "".join(f"<td>{text}</td>" for text in row.values())
        assert f"<tr>{cells}</tr>" in page
        (line,) = [line for line in printed.splitlines() if line.strip().startswith(layer.name)]
        del row["bias"]
        assert "".join(line.split()) == "".join("".join(row.values()).split())


def test_layers_must_be_a_list_of_some(analyzed):
    for layers in ([], "layers.0"):
        with pytest.raises(ValueError, match="`layers` must be a list"):
            report.analyze(analyzed[0], key=KEY, layers=layers)


def test_convolutions_and_poolings_are_reported():
    topology = topology_of(convolutional(jr.key(0)), jnp.zeros((1, 6, 6)))
    seen = []
    found = report.analyze(
        topology,
        key=KEY,
        layers=["layers.0", "layers.5"],
        samples=1000,
        bins=3,
        progress=lambda what, done, total: seen.append((done, total)),
    )
    assert [layer.kind for layer in found.layers] == ["conv", "max_pool"]
    assert all(np.isfinite(layer.degeneracy) for layer in found.layers)
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mine", None)
    return tmp_path


SMALL = ["--input-shape", "3", "--samples", "2000", "--bins", "3"]


def test_analyze_a_factory(folder, capsys):
    status = main(
        ["analyze", "mine:make", *SMALL, "--layers", "layers.1", "--out", "here", "--json"]
    )
    assert status == 0
    printed = json.loads(capsys.readouterr().out)
    assert [layer["name"] for layer in printed["layers"]] == ["layers.1"]
    assert json.loads((folder / "here" / "report.json").read_text()) == printed


def test_analyze_saved_leaves(folder, capsys):
    import mine

    eqx.tree_serialise_leaves("saved.eqx", mine.shifted())
    options = [*SMALL, "--layers", "layers.1", "--json"]
    assert main(["analyze", "saved.eqx", "--factory", "mine:make", *options]) == 0
    from_file = json.loads(capsys.readouterr().out)
    assert main(["analyze", "mine:shifted", *options]) == 0
    from_code = json.loads(capsys.readouterr().out)
    assert from_file["layers"] == from_code["layers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "saved.eqx", *SMALL], "--factory"),
        (["analyze", "mine:unmade", *SMALL], "no function 'unmade'"),
        (["analyze", "no_such_module:f", *SMALL], "no_such_module"),
        (["analyze", "absent.eqx", "--factory", "mine:make", *SMALL], "absent.eqx"),
        (["analyze", "mine:make", *SMALL, "--layers", "layers.7"], "'layers.0', 'layers.1'"),
        (["analyze", "mine:make", "--input-shape", "5"], "does not accept"),
        (["analyze", "mine:make", *SMALL, "--bins", "1"], "at least 2"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, folder, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["a", "3,0", "", "-1"])
def test_shapes_that_are_none(shape, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["analyze", "mine:make", f"--input-shape={shape}"])
    assert stop.value.code == 2
    assert "such as 784" in capsys.readouterr().err


def test_help_teaches_by_example(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "jaxinfo demo" in text and "jaxinfo analyze" in text and "--factory" in text


def test_demo_in_a_process_of_its_own(tmp_path):
    command = [
        sys.executable,
        "-m",
        "jaxinfo",
        "demo",
        "--samples",
        "2000",
        "--bins",
        "4",
        "--json",
    ]
    kept = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_ENABLE_COMPILATION_CACHE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **kept}
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cache" / "jaxinfo").iterdir())) > 20  # for the next run
    numbers = json.loads(done.stdout)
    assert numbers["training"]["test accuracy"] > 0.8
    assert [layer["activation"] for layer in numbers["layers"]] == [
        "sigmoid",
        "tanh",
        "relu",
        "none",
    ]
    assert (tmp_path / "jaxinfo-report" / "index.html").stat().st_size > 50_000
