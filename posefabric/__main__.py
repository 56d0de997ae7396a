"""`python -m posefabric`."""

from posefabric.cli import main

main()
