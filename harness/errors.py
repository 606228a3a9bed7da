"""The two exceptions that end a command early with a message and no traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can correct. The message says what is wrong, what was found, and what to do."""


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The run was asked to stop, and it has saved its state."""
