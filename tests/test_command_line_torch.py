"""What `jaxinfo analyze` makes of torch: a factory, a state dict with a factory, a program."""

import importlib

import jax.numpy as jnp
import pytest

from jaxinfo.__main__ import _model, _parser, main
from jaxinfo.network import topology_of

torch = pytest.importorskip("torch")

FACTORY = """
import torch
def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
"""


def test_models_of_torch_on_the_command_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "my_torch_models.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("my_torch_models").make()
    with torch.no_grad():
        model[2].bias += 1
    torch.save(model.state_dict(), "weights.pt")
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, "model.pt2")
    factory = "my_torch_models:make"
    expected = model(torch.ones(4)).detach().numpy()
    for arguments, bias in (
        ([factory], 0),
        (["weights.pt", "--factory", factory], 1),
        (["model.pt2"], 1),
    ):
        parsed = _parser().parse_args(["analyze", *arguments, "--input-shape", "4"])
        found = _model(parsed)
        assert topology_of(found, jnp.zeros(4)).names == ("0", "2")
        assert found(jnp.ones(4)) + 1 - bias == pytest.approx(expected, rel=1e-5)
    assert main(["analyze", "weights.pt", "--input-shape", "4"]) == 2
    assert "--factory" in capsys.readouterr().err
