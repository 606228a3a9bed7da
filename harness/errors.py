"""The two ways in which a command ends before its time."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message is the whole story: what is wrong and what to do."""


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The run was asked to stop, and has saved."""
