"""Commands that run in the process of the tests."""

import contextlib
import io


def run_command(main, *arguments):
    """Runs the main function of a command, and returns (exit code, stdout, stderr)."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), error.getvalue()
