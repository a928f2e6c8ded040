"""Measures seewhy against bare passes of the network and against other libraries: `python -m benchmarks`."""
