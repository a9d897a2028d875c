"""The limit on this stack: a grpc.aio server whose handler returns fixed bytes.

It imports nothing of pullgate, so that any grpcio release can be put under it. It prints the port it listens on as
its first line and serves until it is terminated.
"""

import argparse
import asyncio
import sys

import grpc

SERVICE = "pullgate.v1.PolicyDecisionService"
METHOD = "Decide"


def make_handler(answer: bytes) -> grpc.GenericRpcHandler:
    """A handler for Decide that reads nothing and answers `answer`."""

    async def decide(_request: bytes, _context: object) -> bytes:
        return answer

    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(decide)})


async def serve(answer: bytes) -> None:
    """Serve on a free loopback port until cancelled."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((make_handler(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answer-bytes", type=int, default=220, help="size of the fixed answer")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    loop_factory = None
    if options.loop == "uvloop":
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(serve(bytes(options.answer_bytes)))
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
