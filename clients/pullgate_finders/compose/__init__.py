"""Compose files, read as Docker Compose reads them.

interpolation.py  variables in values
dotenv.py         `.env`
numbers.py        YAML's numbers, where Compose makes texts of them
parts.py          what may name images, in one shape, and how one file is merged over another
loading.py        documents, `extends` and `include` put together to a project
projects.py       which files are read together
references.py     the references of a project; building.py: those of its builds; inline.py: Dockerfiles within it
finder.py         which files are Compose files
"""

from pullgate_finders.compose.finder import ComposeByContentFinder, ComposeFinder

__all__ = ["ComposeByContentFinder", "ComposeFinder"]
