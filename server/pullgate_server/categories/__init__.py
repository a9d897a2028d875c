"""Which category a Docker Hub repository is of: sources that know, and a cache of what they said."""
