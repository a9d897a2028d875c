"""Dockerfiles and Containerfiles, read as BuildKit reads them.

build.py          how a Dockerfile is built, as far as it is said
lines.py          logical lines, with the places of their characters
heredocs.py       texts that follow an instruction
directives.py     `# syntax=` and `# escape=`
instructions.py   names, flags and arguments
mounts.py         the value of `RUN --mount`
expansion.py      quotes, escapes and variables; patterns.py: those of `${v#p}`
arguments.py      build arguments
contexts.py       named contexts
reading.py        makes stages of instructions
stages.py         what is a stage, and which are reached
finder.py         what is left is images
"""

from pullgate_finders.dockerfile.build import Build
from pullgate_finders.dockerfile.finder import DockerfileFinder, find_in_build, find_in_text

__all__ = ["Build", "DockerfileFinder", "find_in_build", "find_in_text"]
