"""The node agent: a kubelet stand-in that runs pods as local processes."""

from tidegate.sim.node.agent import NodeAgent, remove_leftovers
from tidegate.sim.node.container import Timing

__all__ = ["NodeAgent", "Timing", "remove_leftovers"]
