"""Descriptors from .proto files, by the protoc that comes with grpcio-tools."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pgcurl.protosets import FilesSource, read_protoset
from pgcurl.sources import DescriptorSource, DescriptorSourceError


def compile_protos(names: Sequence[str], import_paths: Sequence[Path]) -> DescriptorSource:
    """The files, and all that they import.

    Args:
        names: of .proto files, below one of the import paths or as protoc is to find them.
        import_paths: where imports are looked for. Without any: the working directory, or else, for files that lie
            elsewhere, their own directories.

    Raises DescriptorSourceError with what protoc says, or when there is no protoc.
    """
    if importlib.util.find_spec("grpc_tools") is None:
        raise DescriptorSourceError(
            "reading .proto files takes protoc, which is not installed: pip install 'pullgate[pgcurl]'. "
            "Without it, use -protoset with a descriptor set, or the server's reflection"
        )
    with tempfile.TemporaryDirectory(prefix="pgcurl-") as directory:
        protoset = Path(directory, "files.protoset")
        _run_protoc(
            [
                *(f"-I{path}" for path in import_paths or _inferred_import_paths(names)),
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={protoset}",
                *(f"./{name}" if name.startswith(("-", "@")) else name for name in names),
            ]
        )
        return FilesSource(read_protoset(protoset))


def _inferred_import_paths(names: Sequence[str]) -> Sequence[Path]:
    """The working directory for names that lie below it; other files are found in their own directories."""
    return list(dict.fromkeys([Path(), *(Path(name).parent for name in names)]))


def _run_protoc(arguments: Sequence[str]) -> None:
    """Run protoc in a process of its own: it writes to the standard error of whoever calls it."""
    finished = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "grpc_tools.protoc", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if finished.returncode != 0:
        said = finished.stderr.strip() or f"it ended with {finished.returncode} and did not say why"
        raise DescriptorSourceError(f"protoc cannot compile the files:\n{said}")
