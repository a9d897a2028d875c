"""The formats that are read. One more is one file, and one line here."""

from pullgate_finders.bake import BakeFinder
from pullgate_finders.bitbucket import BitbucketFinder
from pullgate_finders.circleci import CircleCIFinder
from pullgate_finders.compose import ComposeByContentFinder, ComposeFinder
from pullgate_finders.devcontainer import DevContainerFinder
from pullgate_finders.dockerfile import DockerfileFinder
from pullgate_finders.github_actions import GitHubActionsFinder
from pullgate_finders.gitlab_ci import GitLabCIFinder
from pullgate_finders.helm import HelmTemplateFinder, HelmValuesFinder
from pullgate_finders.kubernetes import KubernetesFinder
from pullgate_finders.kustomize.finder import KustomizeFinder
from pullgate_finders.port import Finder
from pullgate_finders.skaffold import SkaffoldFinder

FINDERS: tuple[Finder, ...] = (
    DockerfileFinder(),
    GitHubActionsFinder(),
    GitLabCIFinder(),
    CircleCIFinder(),
    BitbucketFinder(),
    DevContainerFinder(),
    BakeFinder(),
    SkaffoldFinder(),
    ComposeFinder(),
    KustomizeFinder(),
    HelmTemplateFinder(),
    HelmValuesFinder(),
    ComposeByContentFinder(),
    KubernetesFinder(),
)
"""In this order the first that claims a file's name and recognises its text reads it: the more special ones first."""
