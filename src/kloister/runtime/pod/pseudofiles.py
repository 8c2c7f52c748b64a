"""Files whose content is made when somebody opens them, without privileges: whoever opens a leased file waits.

Before a content is made, an empty leased file takes the name over, so that whoever opens the name later waits for a
content that is made later: what was written elsewhere before an `open` is known to it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from kloister.errors import KloisterError
from kloister.runtime.linux import leases

_NEW = ".new"  # the next file of a name, for the microseconds until it takes the name
_RETRY = 1.0  # seconds until a file that could not be made is tried again
_MOST_REMARKS = 16  # different ones; a program that asks wrongly for ever is not helped by more
_OPEN = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PseudoFiles:
    """Leased files below a directory that belongs to this container alone.

    Args:
        directory: where they are made.
        contents: name -> what makes its content; an error of it leaves the file empty, and is told.
        tell: takes a remark for the operator; each different one once. An OSError of it is nobody's affair.
    """

    def __init__(
        self, directory: Path, contents: Mapping[str, Callable[[], bytes]], tell: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._contents = contents
        self._tell = tell
        self._told: set[str] = set()
        self._leased: dict[str, int] = {}

    def make(self) -> None:
        """Make all of them; this process answers from now on, and must go on to `serve`.

        Raises:
            OSError: the directory cannot be written, or has no leases.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {leases.SIGNAL})
        for name in self._contents:
            self._leased[name] = self._fresh(name)

    def serve(self) -> None:
        """Answer one round: wait until somebody opens a file, and answer all who do."""
        if len(self._leased) == len(self._contents):
            signal.sigwait({leases.SIGNAL})
        else:
            signal.sigtimedwait({leases.SIGNAL}, _RETRY)
        for name in self._contents:
            descriptor = self._leased.get(name)
            if descriptor is None or leases.awaited(descriptor):
                self._answer(name)

    def _answer(self, name: str) -> None:
        waiting = self._leased.pop(name, None)
        try:
            self._leased[name] = self._fresh(name)  # before the content is made: see above
        except OSError as error:
            self._remark(f"{name}: {error.strerror}")
            with suppress(OSError):  # rather no file than one that says the same for ever
                (self._directory / name).unlink()
        if waiting is None:
            return
        try:
            os.write(waiting, self._content(name))
        except OSError as error:
            self._remark(f"{name}: {error.strerror}")
        leases.give_up(waiting)
        os.close(waiting)

    def _content(self, name: str) -> bytes:
        try:
            return self._contents[name]()
        except KloisterError as error:
            self._remark(f"{name}: {error.code}: {error.text}")
        except Exception as error:  # noqa: BLE001 -- one file is empty, rather than all of them for good
            self._remark(f"{name}: {type(error).__name__}")
        return b""

    def _fresh(self, name: str) -> int:
        path = self._directory / name
        new = path.with_name(_NEW)
        new.unlink(missing_ok=True)
        descriptor = os.open(new, _OPEN, 0o444)
        try:
            os.fchmod(descriptor, 0o444)
            leases.take(descriptor)
            new.replace(path)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _remark(self, text: str) -> None:
        if text not in self._told and len(self._told) < _MOST_REMARKS:
            self._told.add(text)
            with suppress(OSError):  # the log is the application's as well, which may have closed it or filled it up
                self._tell(text)
