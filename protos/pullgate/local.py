"""Where a server and the clients of the same machine meet when nobody says otherwise."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

DEFAULT_ADDRESS = "127.0.0.1:50051"

MAX_PORT = 65535

OPERATOR_TOKEN_FILE = "operator.token"
"""Name of the file in the data directory that holds the operator token, readable by its owner alone."""


def default_data_directory(environment: Mapping[str, str]) -> Path:
    """PULLGATE_DATA_DIR, else `pullgate` in the user's data directory (XDG Base Directory specification)."""
    if explicit := environment.get("PULLGATE_DATA_DIR"):
        return Path(explicit)
    base = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME") or Path.home(), ".local", "share")
    return Path(base, "pullgate")


def is_local(address: str) -> bool:
    """Whether a gRPC address, unix:PATH or HOST:PORT, is within this machine; raises ValueError if it is neither."""
    if address.startswith("unix:"):
        return True
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError("is not HOST:PORT or unix:PATH")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
