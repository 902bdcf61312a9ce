"""The compiled core. Only :mod:`convnd.kernels` imports from here."""
