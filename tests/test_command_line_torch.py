"""`jaxinfo analyze` on torch models: a factory, a state dict with a factory, an exported program."""

import json

import pytest

from jaxinfo.__main__ import main

torch = pytest.importorskip("torch")

FACTORY = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
"""


def analyze(capsys, tmp_path, *arguments):
    options = ["--input-shape", "4", "--samples", "500", "--bins", "4", "--json"]
    status = main(["analyze", *arguments, *options, "--out", str(tmp_path / "report")])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return [layer["name"] for layer in json.loads(captured.out)["layers"]]


def test_analyze_torch(capsys, tmp_path, monkeypatch):
    (tmp_path / "my_torch_models.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    factory = "my_torch_models:make"
    assert analyze(capsys, tmp_path, factory) == ["0", "2"]
    import my_torch_models

    model = my_torch_models.make()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    assert analyze(capsys, tmp_path, str(tmp_path / "weights.pt"), "--factory", factory) == [
        "0",
        "2",
    ]
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    assert analyze(capsys, tmp_path, str(tmp_path / "model.pt2")) == ["0", "2"]
    assert main(["analyze", "weights.pt", "--input-shape", "4"]) == 2
    assert "--factory" in capsys.readouterr().err
