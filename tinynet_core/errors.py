"""Mistakes that a user can mend: shown as one message, without a traceback, in notebooks and in the shell."""


class UserError(Exception):
    """The message names the file or key, what was given and what is allowed."""

    exit_status = 2
    """Of a command that ends with this error."""

    def _render_traceback_(self) -> list[str]:  # IPython shows this instead of the stack
        return [f"{type(self).__name__}: {self}"]
