"""`python -m pullgate_cli` is `pullgate`."""

from pullgate_cli.main import main

main(prog_name="pullgate")
