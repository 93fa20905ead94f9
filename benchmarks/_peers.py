"""Peers as they need to be called today."""

import importlib
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
