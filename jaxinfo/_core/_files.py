"""Files that somebody else wrote: whatever is wrong with one is a `FileFormatError` that names it."""

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any


class FileFormatError(ValueError):
    """A file that is truncated, corrupted, foreign, or not what it should be."""


def path_of(argument: str, value: Any) -> pathlib.Path:
    """The path that an argument gives, or an error that names the argument."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"`{argument}` must be a path, text or `os.PathLike`; got {value!r}.")
    if not (text := os.fspath(value)) or "\0" in text:
        raise ValueError(
            f"`{argument}` must be a path, not empty and without null characters; got {text!r}."
        )
    return pathlib.Path(text)


@contextlib.contextmanager
def reading(path: pathlib.Path, kind: str) -> Iterator[None]:
    """What any reader of a file of that kind raises, as one error that names the file.

    Errors of the system (no such file, no permission) stay what they are.
    """
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{str(path)!r}: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise FileFormatError(f"{str(path)!r} is not {kind}: {error}") from error
    except Exception as error:  # of a parser, which has been given bytes that it did not expect
        reason = (str(error).strip().splitlines() or [""])[0]
        raise FileFormatError(
            f"{str(path)!r} is not {kind}, or is damaged: {type(error).__name__} {reason}".rstrip()
        ) from error


def zip_members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The members of an archive by name, their checksums verified, no name twice.

    A member takes the memory of what it holds, at most a thousand times what lies in the file, and
    not what its header says.
    """
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise FileFormatError("two members of the archive have one name.")
    return {name: archive.read(name) for name in names}
