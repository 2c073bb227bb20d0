"""What every command shares: the lazily loaded group, output formats, progress, errors as people see them.

The commands themselves lie where what they do lies: those that start and stop things in `timonel.distro.commands`.
"""
