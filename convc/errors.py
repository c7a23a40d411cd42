"""Errors that a user can mend. Each message states the rule, then the numbers, then the place."""

from __future__ import annotations


class ConvcError(Exception):
    """Base of every error that convc raises on bad input; the command line prints it as one line."""


class IRError(ConvcError):
    """Malformed IR: a shape rule broken, an unknown operator, a cycle, a text that does not parse."""


class DataError(ConvcError):
    """A data set that is truncated, mislabelled, or does not fit the model."""


class ToolchainError(ConvcError):
    """No compiler, a compiler that failed, or a cache that cannot be written."""


class RunError(ConvcError):
    """A call of a compiled program with arrays that do not fit it, or a device that fails or has too little memory."""


class EmulatorError(ConvcError):
    """PTX that the emulator does not know, or a launch whose arguments do not fit the kernel."""
