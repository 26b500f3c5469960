"""One exception for a user's mistake."""


class InputError(ValueError):
    """Something the reader gave cannot be used: a file, a folder, a parameter, an array.

    The message is one sentence a person can act on: what is wrong, where, what to do. Notebooks and
    the command line print that sentence and no stack trace; everything else that is raised is a
    defect of this project and keeps its trace.
    """

    def _render_traceback_(self):
        """Lines IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]
