"""Helm charts: their values, and their templates as far as they are simple.

chart.py        what a chart says of itself, and the default of a value
images.py       the images in a document of values
expressions.py  the simple ones of the expressions in templates
values.py       finds in values files
templates.py    finds in templates, line by line

A rendered chart is Kubernetes, and read as that.
"""

from pullgate_finders.helm.templates import HelmTemplateFinder
from pullgate_finders.helm.values import HelmValuesFinder

__all__ = ["HelmTemplateFinder", "HelmValuesFinder"]
