"""The record of an environment: everything that may change the last bits of a result."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.comparing import leaves
from harness.records.environments import UNKNOWN

__all__ = ["Environment"]


@dataclass(frozen=True)
class Environment:
    """Everything that may change the last bits of a result.

    Attributes
    ----------
    python, numpy, tensorflow, opencv : str
        Versions.
    device : str
        ``"cpu"`` or the GPU's name.
    machine : str
        Processor architecture, such as ``"x86_64"``.
    intra_op_threads, inter_op_threads : int
        TensorFlow's thread pools.
    onednn, tf32 : bool
        Whether oneDNN kernels and TensorFloat-32 are on.
    deterministic : bool
        Whether op determinism is on.
    mode : str
        ``"graph"``: the compiled functions, without XLA; else with what turned that on.
    cpu : str
        The processor's name, family and model.
    onednn_isa : str
        The instruction set that oneDNN uses, see
        :func:`harness.environment.processor.onednn_isa`.
    variables : mapping of str to str
        What TensorFlow and its libraries read from the process's environment, see
        :func:`harness.environment.variables.numeric_variables`.
    gpu : mapping of str to str
        The GPU's compute capability, driver, libraries and memory; empty on a CPU.
    remark : str
        Why the device is another than somebody might expect; not recorded.
    """

    python: str
    numpy: str
    tensorflow: str
    opencv: str
    device: str
    machine: str
    intra_op_threads: int
    inter_op_threads: int
    onednn: bool
    tf32: bool = False
    deterministic: bool = True
    mode: str = "graph"
    cpu: str = UNKNOWN
    onednn_isa: str = UNKNOWN
    variables: Mapping[str, str] = field(default_factory=dict)
    gpu: Mapping[str, str] = field(default_factory=dict)
    remark: str = field(default="", compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-able mapping."""
        found = asdict(self)
        del found["remark"]
        return found

    def line(self) -> str:
        """Return the one-line form that headers print."""
        parts = [
            f"TensorFlow {self.tensorflow}", f"NumPy {self.numpy}", f"OpenCV {self.opencv}",
            f"Python {self.python}", f"{self.device}{f' ({self.remark})' if self.remark else ''}",
            *(f"{name} {value}" for name, value in self.gpu.items()),
            f"threads {self.intra_op_threads}+{self.inter_op_threads}",
            f"oneDNN {'on' if self.onednn else 'off'} ({self.onednn_isa})",
            f"TF32 {'on' if self.tf32 else 'off'}",
            "deterministic ops" if self.deterministic else "ops not deterministic",
            *([] if self.mode == "graph" else [self.mode]),
            *(f"{name}={value}" for name, value in self.variables.items()),
        ]  # fmt: skip
        return ", ".join(parts)

    def lines(self) -> Iterator[str]:
        """Yield the record, one ``key: value`` a line."""
        for key, value in leaves(self.as_dict()):
            yield f"{key}: {value}"
        if not self.variables:
            yield "variables: none that changes what is computed"
