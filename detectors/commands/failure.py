"""The error of a command that cannot do what it was asked."""


class CommandError(Exception):
    """Says what was asked, why it cannot be done, and the next step. The command line exits with 2."""
