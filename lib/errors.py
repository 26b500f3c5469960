"""One exception for a user's mistake, and how programs say that they cannot write."""

import re

#: Characters that a terminal or an editor obeys instead of showing, and halves of characters that
#: it cannot print at all. Names of files and people may hold any of them.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

#: How the engine, or the book's builder, says that the system does not let it write.
CANNOT_WRITE = re.compile(
    r"No space left on device|[Qq]uota exceeded|Read-only file system|Permission denied"
)


class InputError(ValueError):
    """Something the reader gave cannot be used: a file, a folder, a parameter, an array.

    The message is one sentence a person can act on: what is wrong, where, what to do. Notebooks and
    the command line print that sentence and no stack trace; everything else that is raised is a
    defect of this project and keeps its trace. ``lines`` are shown below it, for what another
    program has said.
    """

    def __init__(self, sentence: str = "", *lines: str):
        told = [_UNPRINTABLE.sub(_shown, str(line)) for line in (sentence, *lines)]
        super().__init__("\n  ".join(told))

    def _render_traceback_(self):
        """Lines IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


def _shown(found: re.Match) -> str:
    return found[0].encode("unicode_escape").decode()
