"""Which instruction set: chosen once, the best that the processor has, overridable with CONVND_ISA."""

import os

from libc.stdint cimport INT64_MAX

cdef extern from "isa.h":
    ctypedef struct convnd_level:
        const char *name
        const convnd_tiles *tiles[2]
        int (*available)() noexcept nogil
    const convnd_level convnd_levels[]
    int CONVND_LEVELS
    bint convnd_amd() noexcept nogil
    bint convnd_intel() noexcept nogil
    bint convnd_zen() noexcept nogil
    bint convnd_streams() noexcept nogil
    bint convnd_two_wide() noexcept nogil

# Asked for once: CPUID leaves a virtual machine, which takes 30 microseconds.
cdef bint wide = convnd_two_wide()
cdef int chosen = 0
cdef object chosen_name = None


cdef const convnd_tiles *tiles(int64_t itemsize) noexcept nogil:
    return convnd_levels[chosen].tiles[0 if itemsize == 4 else 1]


cdef bint two_wide() noexcept nogil:
    return wide


def built():
    """Names of the instruction sets this library holds, the best last."""
    cdef int i
    return [convnd_levels[i].name.decode() for i in range(CONVND_LEVELS)]


def available():
    """Names of the instruction sets this processor has, the best last."""
    cdef int i
    return [convnd_levels[i].name.decode() for i in range(CONVND_LEVELS) if convnd_levels[i].available()]


def use(name):
    """Use the instruction set of this name from now on."""
    global chosen, chosen_name
    if name not in available():
        raise ValueError(f"CONVND_ISA must be one of {', '.join(available())}. Received: {name!r}")
    chosen, chosen_name = built().index(name), name


def current():
    """Name of the instruction set in use."""
    return chosen_name


def units():
    """A core's multiply-add units, to which costs are fitted: how many, of how many bits.

    "2x512" or "1x512" with AVX-512, and "2x512 Zen" where these are AMD's (Zen 5), which transforms slow down less;
    "2x256" with AVX2, and with shorter vectors, to which nothing was fitted.
    """
    if chosen_name == "x86-64-v4":
        return "1x512" if not wide else "2x512 Zen" if zen_5() else "2x512"
    return "2x256"


def intel():
    """Whether the processor is one of Intel's, which have caches of their own kind."""
    return bool(convnd_intel())


def zen_5():
    """Whether the processor is one of AMD's with two units as wide as AVX-512, in use or not."""
    return bool(wide and convnd_amd())


def lanes(int64_t itemsize):
    """Elements of a vector."""
    return tiles(itemsize).lanes


use(os.environ.get("CONVND_ISA") or available()[-1])
# Zen 3 and 4 gain from half as much; others, Intel's server cores by measurement, don't.
stream_bytes = (2 if convnd_zen() else 4) * 1024 * 1024 if convnd_streams() else INT64_MAX
