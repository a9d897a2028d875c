"""Kubernetes objects, in manifests, lists and rendered charts.

finder.py      finds in files
documents.py   the documents of a file that may be broken in part
objects.py     the images of an object: PodSpecs wherever they are, and custom resources
parameters.py  what custom resources leave to be filled in
"""

from pullgate_finders.kubernetes.finder import KubernetesFinder

__all__ = ["KubernetesFinder"]
