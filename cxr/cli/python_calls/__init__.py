"""The Python calls that do the same as a command: what pages show beside it."""

from cxr.cli.python_calls.calls import python_call

__all__ = ["python_call"]
