"""The Docker Engine's authorization plugin: what a request to the engine pulls, and whether it may."""
