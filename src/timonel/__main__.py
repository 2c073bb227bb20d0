"""`python -m timonel`: the command line."""

from timonel.cli.main import main

main()
