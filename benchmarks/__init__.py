"""The same work done by jaxinfo and by each peer, in one run: `python -m benchmarks --help`."""
