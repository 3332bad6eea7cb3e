"""Folders and files that the commands for teaching write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import LabError


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and rename it there.

    Raises:
        LabError: it cannot be written; nothing half-written is left.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)                  # a temporary file is its owner's alone
        os.replace(part, path)
    except OSError as error:
        raise LabError(f"{path} could not be written ({error.strerror or error}); make room, or name another place "
                       "with -o.") from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def empty_folder(path: Path) -> Path:
    """The folder ``path``, made if it is not there.

    Raises:
        LabError: it holds something already, is no folder, or cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise LabError(f"The folder {path} holds something already, and nothing of it is overwritten; name a new "
                           "or an empty one with -o.")
        tempfile.TemporaryFile(dir=path).close()
    except (FileExistsError, NotADirectoryError) as error:
        raise LabError(f"{path} is no folder; name a new or an empty one with -o.") from error
    except OSError as error:
        raise LabError(f"The folder {path} cannot be written to ({error.strerror or error}); name another with -o."
                       ) from error
    return path
