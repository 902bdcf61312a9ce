"""``convnd bench``: how fast the layers are on this machine, beside its peak and beside other libraries.

``cases`` lists the layers, once, for the timings and for the tests; ``check`` knows what they should give; ``peers``
and ``onnx_peers`` have other libraries do the same; ``measure`` takes the times and ``memory`` what a call needs;
``run`` makes a row of it all, ``report`` a table; ``training`` compares whole training steps.
"""
