"""Asks a pullgate service.

with Client(Connection.from_environment(os.environ)) as client:
    answer = client.decide(identity, "nginx")
"""

from pullgate_client.client import Client
from pullgate_client.connection import Connection
from pullgate_client.errors import CallError, ClientError, ConnectionSettingsError

__all__ = ["CallError", "Client", "ClientError", "Connection", "ConnectionSettingsError"]
