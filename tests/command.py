"""The command line, run in this process."""

import io
from contextlib import redirect_stderr, redirect_stdout

from convnd.cli import run


def convnd(*arguments, code=0):
    """Run the command in this process: standard output, or standard error if it is to fail."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        got = run([str(argument) for argument in arguments])
    assert got == code, (arguments, out.getvalue(), error.getvalue())
    return error.getvalue() if code else out.getvalue()
