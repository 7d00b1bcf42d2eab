"""What runs on an NVIDIA GPU beside the network: pictures into its input, boxes out of its outputs.

The kernels (`*.cu`) are plain C++ but for a few words of CUDA, and the tests compile them for the host as they are.
"""
