"""The double as a program: `python -m tests.docker_hub --port 8081 --publisher grafana --user alice`."""

import argparse
import asyncio

from tests.docker_hub.double import USER, DockerHubDouble, Fault

BADGES = {"publisher": "verified_publisher", "open-source": "open_source", "organization": "", "user": USER}


async def serve(arguments: argparse.Namespace) -> None:
    """Answer until the program is interrupted."""
    async with DockerHubDouble(arguments.port) as hub:
        for option, badge in BADGES.items():
            for namespace in getattr(arguments, option.replace("-", "_")):
                hub.set_badge(namespace, badge)
        print(  # noqa: T201
            f"Docker Hub's double answers on {hub.url}; switch faults with\n"
            f'  curl -X PUT {hub.url}/control -d \'{{"fault": "hang"}}\'   # or null, or one of: '
            f"{', '.join(fault.value for fault in Fault)}\n"
            f'  curl -X PUT {hub.url}/control -d \'{{"namespaces": {{"grafana": "verified_publisher"}}}}\'',
            flush=True,
        )
        await asyncio.Event().wait()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.docker_hub", description=__doc__)
    parser.add_argument("--port", type=int, default=8081)
    for option in BADGES:
        parser.add_argument(f"--{option}", action="append", default=[], metavar="NAME")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
