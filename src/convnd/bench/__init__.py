"""``convnd bench``: how fast the kernels are on this machine, beside the fraction of its peak and beside PyTorch.

``cases`` lists the layers, once, for the timings and for the tests; ``check`` knows what they should give;
``peers`` has other libraries do the same; ``measure`` takes the times; ``training`` compares whole training steps.
"""
