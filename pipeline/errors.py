"""The one exception for what a user can mend: input, configuration, files."""


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and what to do.

    The command line prints the message as one line and exits with code 2.
    """
