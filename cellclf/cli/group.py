"""The group of all commands: their order, and how they end, with errors and notices in one line each."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from typing import Any

import click

from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.output import note
from cellclf.cli.spelling import as_options
from cellclf.errors import CellclfError, CellclfWarning, one_line
from cellclf.utils.backend import check_backend
from cellclf.utils.console import any_text, open_closed_descriptors
from cellclf.utils.device_memory import is_out_of_memory
from cellclf.utils.log import showing

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d"


class Group(click.Group):
    """Commands in the order in which they are written; expected errors are one line on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which they are written."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse options with the dash of a text that was copied from a page: they would be taken for files."""
        words = args[: args.index("--")] if "--" in args else args
        for word in words:
            if word.startswith(tuple(_DASHES)) and not os.path.exists(word):
                raise click.UsageError(
                    f"{one_line(word)} begins with a dash that is no hyphen, as word processors write it; expected "
                    f"--{one_line(word.lstrip(_DASHES + '-'))}",
                    ctx,
                )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command and show its progress lines on stderr; only a mistake in the program gives a traceback."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, when it is imported
        open_closed_descriptors()
        with any_text():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings(), showing(True):
                warnings.simplefilter("always", CellclfWarning)
                warnings.showwarning = _noting_once(warnings.showwarning)
                return super().invoke(ctx)
        except CellclfError as error:
            note(f"cellclf: {self._spelled(ctx, error)}")
        except OSError as error:
            if error.errno == errno.EPIPE:  # `cellclf ... | head`: click ends quietly
                raise
            note(f"cellclf: {one_line(str(error)) or type(error).__name__}")
        except MemoryError as error:
            reason = one_line(str(error)) or "none is left"
            note(f"cellclf: not enough memory ({reason}); a smaller set or --size needs less")
        except KeyboardInterrupt as stop:
            # joblib complains of tasks that nobody waits for as soon as this block is left; the process ends here
            warnings.filterwarnings("ignore", r"\d+ tasks (have been successfully|which were still)", UserWarning)
            note(f"\ncellclf: {str(stop) or 'stopped; no file is half written, and the same command continues a run'}")
            ctx.exit(ExitCode.INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # of a backend, which is not imported here
            line = _expected(error)
            if line is None:
                raise
            note(f"cellclf: {self._spelled(ctx, line)}")
        ctx.exit(ExitCode.ERROR)

    def _spelled(self, ctx: click.Context, error: object) -> str:
        """Spell the fix of a message as the command that failed spells it."""
        name = ctx.invoked_subcommand
        return as_options(str(error), None if name is None else self.get_command(ctx, name))


def _expected(error: Exception) -> str | None:
    """Give the line for an error of Keras or its backend that is no mistake in this program; None for any other."""
    if is_out_of_memory(error):
        reason = one_line(str(error))[:200]
        return f"the device has not enough memory ({reason}); a smaller batch_size needs less"
    try:
        check_backend()  # what Keras raises without one depends on which
    except CellclfError as found:
        return str(found)
    return None


def _noting_once(default: Callable[..., None]) -> Callable[..., None]:
    """Give a ``warnings.showwarning`` that prints each of this package's warnings once, in one line."""
    noted: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, CellclfWarning):
            default(message, category, *rest, **more)
        elif str(message) not in noted:
            noted.add(str(message))
            note(f"note: {as_options(str(message))}")

    return show
