"""`jaxinfo analyze` on models of torch, from the command line to the report, in a process of its own."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import jaxinfo
from jaxinfo.__main__ import main

torch = pytest.importorskip("torch", reason="models of torch need torch")

from safetensors.torch import save_file  # noqa: E402

FACTORIES = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

def tagger():
    return nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))

class Odd(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)
"""
SMALL = ["--input-shape", "4", "--samples", "200", "--bins", "3"]


def in_a_process(folder, *arguments):
    root = pathlib.Path(jaxinfo.__file__).parents[1]
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "jaxinfo", "analyze", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes the longest
        },
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Factories, a state dict that is not the factory's, and the programs of one such model."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "my_torch_models.py").write_text(FACTORIES)
    scope = {}
    exec(FACTORIES, scope)
    model = scope["make"]().eval()
    with torch.no_grad():
        model[0].weight.mul_(0).add_(torch.eye(3, 4))  # three copies
        model[2].weight.mul_(0)  # silence
    torch.save(model.state_dict(), folder / "weights.pt")
    save_file(model.state_dict(), folder / "weights.safetensors")
    batch = torch.export.Dim("batch")
    free = torch.export.export(model, (torch.randn(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(free, folder / "free.pt2")
    torch.export.save(torch.export.export(model, (torch.randn(1, 4),)), folder / "one.pt2")
    return folder


def test_a_program_needs_no_source(folder, tmp_path):
    """In a second process, in a folder where the factory is not."""
    options = ["--layers", "0", "--json", "--out", "report"]
    done = in_a_process(tmp_path, str(folder / "free.pt2"), "--trusted", *SMALL, *options)
    assert done.returncode == 0, done.stderr
    (layer,) = json.loads(done.stdout)["layers"]
    assert layer["name"] == "0" and layer["ei_parts"]["value"] > 0.1
    page = (tmp_path / "report" / "index.html").read_text()
    assert "free.pt2" in page and "tanh" in page


@pytest.fixture
def measured(monkeypatch):
    """What is handed to `analyze`, which other tests run."""
    seen = []

    def stop(topology, **options):
        seen.append(topology)
        raise ValueError("seen")

    monkeypatch.setattr("jaxinfo.__main__.analyze", stop)
    return seen


@pytest.mark.parametrize(
    "arguments",
    (
        ["free.pt2", "--trusted"],
        ["one.pt2", "--trusted"],
        ["weights.pt", "--factory", "my_torch_models:make"],
        ["weights.safetensors", "--factory", "my_torch_models:make"],
        ["my_torch_models:make"],
    ),
    ids=lambda arguments: arguments[0],
)
def test_each_way_to_name_a_model(arguments, folder, monkeypatch, measured):
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "my_torch_models", raising=False)
    assert main(["analyze", *arguments, *SMALL]) == 2
    (topology,) = measured
    assert topology.names == ("0", "2")
    weight = np.asarray(topology.channel("0").weight)
    is_of_the_files = np.array_equal(weight, np.eye(4, 3))
    assert is_of_the_files == (arguments != ["my_torch_models:make"])


def test_models_of_tokens(folder, monkeypatch, measured):
    monkeypatch.chdir(folder)
    assert main(["analyze", "my_torch_models:tagger", *SMALL]) == 2
    (topology,) = measured
    assert topology.names == ("1", "3")


def test_errors_are_one_message(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["analyze", "weights.pt", "--input-shape", "4"]) == 2
    assert "--factory" in capsys.readouterr().err
    assert main(["analyze", "my_torch_models:Odd", "--input-shape", "4"]) == 2
    assert "aten.special_bessel_j0.default" in capsys.readouterr().err
    assert main(["analyze", "free.pt2", "--input-shape", "4"]) == 2
    assert "--trusted" in capsys.readouterr().err
    assert main(["analyze", "free.pt2", "--trusted", "--input-shape", "5"]) == 2
    assert "(batch, 4)" in capsys.readouterr().err
