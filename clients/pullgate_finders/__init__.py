"""Finds every image reference in the files of a repository: where it stands, what it is used for, and how sure that is.

    found.py          what is found: a reference at a place, or why a file could not be read
    port.py           a finder, and what it may look at
    formats.py        the finders there are; one more is one file and one line
    finding.py        runs them over files
    values.py         texts that may depend on what is not known here
    source_text.py    positions in a text, also in one that is embedded in another
    yaml_nodes.py     YAML with positions, safe against what is made to explode
    tree.py           files on disk, within limits; and in memory

No file is run, built or rendered, and nothing is asked over the network.
"""

from pullgate_finders.found import Certainty, Finding, Found, Kind, Place, Trouble
from pullgate_finders.port import Files, Finder, Search, Settings, UnreadableFileError

__all__ = [
    "Certainty",
    "Files",
    "Finder",
    "Finding",
    "Found",
    "Kind",
    "Place",
    "Search",
    "Settings",
    "Trouble",
    "UnreadableFileError",
]
