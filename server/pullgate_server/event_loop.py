"""The event loop that servers run in. Imported before anything of grpc's, as it sets what grpc reads then."""

import os
from typing import Any

# The event engine costs latency (docs/decisions/0001-grpcio-release.md).
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener,-event_engine_dns")


def loop_factory() -> Any:
    """What makes the event loop: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
