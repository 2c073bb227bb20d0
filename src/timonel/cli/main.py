"""The command group: commands are imported when they are called, and every error ends as one line and an exit code.

Exit codes: 0 done, 1 it failed, 2 the command line was wrong, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from timonel.client.transport import Unreachable
from timonel.machinery.errors import StatusError


class Failure(click.ClickException):
    """What a command raises to end with a message for people; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: Any = None) -> None:
        click.secho(f"error: {self.message}", fg="red" if sys.stderr.isatty() else None, err=True)
        if self.hint:
            click.echo(f"  {self.hint}", err=True)


class LazyGroup(click.Group):
    """`commands_at` maps a command's name to `module:attribute`; the module is imported when it is needed."""

    def __init__(self, *args: Any, commands_at: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = dict(commands_at)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = self._commands_at.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            close = [name for name in self._commands_at if name.startswith(args[0][:2])]
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx) from exc


def run(group: click.Group) -> None:
    """Run the command line and leave the process."""
    try:
        code = group.main(standalone_mode=False, prog_name="timonel")
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except StatusError as exc:
        click.echo(f"error: the API server answered: {exc.message}", err=True)
        sys.exit(1)
    except Unreachable as exc:
        click.echo(f"error: no answer from the API server: {exc}", err=True)
        click.echo("  `timonel status` shows what is running; `timonel up` starts it.", err=True)
        sys.exit(1)
    except OSError as exc:  # what no command has foreseen: a full disk, a folder of somebody else
        what = f"{exc.filename}: {exc.strerror}" if exc.filename and exc.strerror else str(exc)
        click.echo(f"error: {what}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
