"""The file of a unix socket: whether one can be made there, and whose the one is that is there already."""

import os
import socket
import stat
from pathlib import Path

from pullgate_server.errors import StartupError

MAX_PATH_BYTES = 107
"""What Linux has room for in a socket's address."""

PATIENCE = 1.0
"""Seconds that whoever listens may take to answer."""


def make_way(path: Path) -> None:
    """Take away the socket that somebody left who listens no more.

    Raises:
        StartupError: somebody listens there, or no socket can be made there; says what to do.
    """
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise StartupError(
            f"--listen unix:{path} has a path of {size} bytes, and a socket's has at most {MAX_PATH_BYTES}"
        )
    folder = path.parent
    if not folder.is_dir():
        raise StartupError(f"--listen unix:{path} is in a directory that is not there; make {folder} first")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise StartupError(f"--listen unix:{path} cannot be used ({error.strerror})") from error
    if mode is not None and not stat.S_ISSOCK(mode):
        raise StartupError(f"--listen unix:{path} is there and is no socket; name another file, or remove it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(
            f"--listen unix:{path} cannot be made: this user may not write to {folder}; name a socket elsewhere, such "
            "as --listen unix:/tmp/pullgate.sock"
        )
    if mode is not None:
        _take_away(path)


def _take_away(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise StartupError(f"--listen unix:{path} is somebody else's socket ({error.strerror or error})") from error
    raise StartupError(f"cannot listen on unix:{path}: another process is listening there. See --listen")
