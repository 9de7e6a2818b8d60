"""EdgeFlowNAS as a system under test: driven and observed from outside, never edited.

Runs in a process of its own, in the interpreter that EdgeFlowNAS itself uses, so nothing
here imports the rest of the harness. It needs NumPy, OpenCV, TensorFlow and, from
TensorFlow 2.16 on, tf-keras: EdgeFlowNAS builds TensorFlow 1 graphs.

The checkout is https://github.com/linenmin/MCUFlowNet, folder ``EdgeFlowNAS``; its versions
are told apart by what is there, not by their names.
"""

from .adapter import EdgeFlowNAS
from .later import EdgeFlowNASV2, EdgeFlowNASV3
from .standalone import StandaloneEvaluation

__all__ = ["EdgeFlowNAS", "EdgeFlowNASV2", "EdgeFlowNASV3", "StandaloneEvaluation"]
