"""A double of Docker Hub's API, in tests and as a program of its own: `python -m tests.docker_hub`."""

from tests.docker_hub.double import USER, Answer, DockerHubDouble, Fault, Request

__all__ = ["USER", "Answer", "DockerHubDouble", "Fault", "Request"]
