"""`python -m llmos.cli` is the command `llmos`."""

from llmos.cli import main

main()
