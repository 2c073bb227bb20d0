"""`python -m timonel`: the command line."""

from timonel.distro.main import main

main()
