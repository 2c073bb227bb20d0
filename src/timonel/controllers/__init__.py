"""One file per controller, with upstream's names and behaviour; all pure. `timonel.distro` lists what runs.

Each file says what it watches and writes, and ends with its declaration. See docs/design/controllers.md.
"""
