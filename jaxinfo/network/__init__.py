"""Floor 2: what a network is."""

from ._channel import Channel as Channel
from ._topology import Topology as Topology
from ._topology import topology_of as topology_of
