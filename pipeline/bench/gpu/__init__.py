"""`vedette bench pipeline --gpu`: pictures that stay on an NVIDIA GPU, against what the GPU can do.

`child.py` is one measurement in a process of its own: the whole machine over surfaces that lie on the GPU already, or
over the files through NVDEC; the network alone; what the GPU's memory and the pre-processing kernel move a second.
`measure.py` runs them in turns and `report.py` is what comes of them; docs/gpu.md describes every key. What only CUDA
can do stands behind the protocols of `instruments.py`; the tests drive all of it on the host's memory.
"""
