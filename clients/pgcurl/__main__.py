"""`python -m pgcurl`."""

from pgcurl.main import main

main()
