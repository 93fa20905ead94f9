"""Peers as they need to be called today."""

import importlib
import importlib.util
import sys
import types
import unittest.mock
from typing import Any


def deep_ei() -> Any:
    """The module `deep_ei`, whose topology adds an edge from None, which networkx now refuses."""
    import networkx as nx

    module = importlib.import_module("deep_ei")
    original = nx.DiGraph.add_edge

    def add_edge(self: Any, u: Any, v: Any, **attributes: Any) -> None:
        if u is not None and v is not None:
            original(self, u, v, **attributes)

    nx.DiGraph.add_edge = add_edge
    return module


def slim() -> Any:
    """The module `neuromancer.slim`, without the rest of neuromancer and what that imports."""
    if "neuromancer" not in sys.modules:
        found = importlib.util.find_spec("neuromancer")
        if found is None:
            raise ImportError("neuromancer (`pip install --no-deps neuromancer`)")
        bare = types.ModuleType("neuromancer")
        bare.__path__ = list(found.submodule_search_locations or ())
        sys.modules["neuromancer"] = bare
    return importlib.import_module("neuromancer.slim")


def scnn_optimize() -> Any:
    """The module `scnn.optimize`, without cvxpy if that is missing: its other solvers need it."""
    if "cvxpy" not in sys.modules and importlib.util.find_spec("cvxpy") is None:
        sys.modules["cvxpy"] = unittest.mock.MagicMock()
    return importlib.import_module("scnn.optimize")
