"""Bad input."""


class InputError(ValueError):
    """What was given can't be used: the message says what was wrong and what to do.

    The command line prints it in one line and exits with code 2.
    """
