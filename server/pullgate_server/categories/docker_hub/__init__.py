"""Docker Hub as a category source: the badge of a namespace, as Docker Hub's own pages show it."""
