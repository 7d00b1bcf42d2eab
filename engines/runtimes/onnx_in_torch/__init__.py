"""An ONNX file as a torch module: what lets torch run the files that all other runtimes run, on a CPU or a GPU.

`read_onnx(path)` gives an `OnnxInTorch`; Q/DQ nodes are computed as ONNX defines them, in floats («fake» quantization).
Only the operators that detectors use are there (`operators.py`); another one is refused with its name.
"""

from engines.runtimes.onnx_in_torch.module import OnnxInTorch, read_onnx

__all__ = ["OnnxInTorch", "read_onnx"]
