"""`python -m switchtower`."""

from switchtower.cli import main

main()
