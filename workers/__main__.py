"""`python -m workers` is the `holdfast` command."""

from workers.cli import main

main()
