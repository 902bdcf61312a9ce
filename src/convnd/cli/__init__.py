"""The ``convnd`` command.

A command's module is imported when the command is called, so ``convnd --help`` stays quick. Whatever
goes wrong ends here, in one place: exit code 0 for done, 1 for work that failed, 2 for wrong usage, and
for a user's mistake one plain line on standard error.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from ..errors import ArgumentError, ConvndError


class Entry(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    module: str
    name: str
    help: str


COMMANDS = {
    "demo": Entry("convnd.cli.demo", "demo", "Train on real speech that comes with convnd, and test the result."),
    "prepare": Entry("convnd.cli.prepare", "prepare", "Turn recordings, tables and the like into one HDF5 file."),
    "info": Entry("convnd.cli.files", "info", "What a data file holds."),
    "check": Entry("convnd.cli.files", "check", "Read every byte of a data file and report what is wrong."),
    "train": Entry("convnd.cli.train", "train", "Train a network on a data file."),
    "evaluate": Entry("convnd.cli.use", "evaluate", "Measure a trained network on a split of a data file."),
    "predict": Entry("convnd.cli.use", "predict", "Ask a trained network about new files."),
    "summary": Entry("convnd.cli.use", "summary", "A network's layers, parameters and cost for one sample shape."),
    "bench": Entry("convnd.bench.command", "command", "Measure the kernels on this machine."),
    "config": Entry("convnd.cli.use", "config", "Version, instruction set and threads."),
}


class Stopped(Exception):
    """Ctrl-C in a command, with what it says about it; click would put its own word in a KeyboardInterrupt's place."""


class Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in COMMANDS.items() if _exists(entry.module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None or not _exists(entry.module):
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped(str(stop)) from stop

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from .. import __version__

        click.echo(f"convnd {__version__}")
        ctx.exit()


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Convolutional networks on data of any rank and any size, on the CPU you have.

    \b
    See it work:
      convnd demo
    Your own recordings, one folder a class (FOLDER/dog/1.wav, FOLDER/cat/2.wav, ...):
      convnd prepare audio FOLDER sounds.h5
      convnd train sounds.h5 --model NAME --out run
      convnd predict run new.wav

    'convnd COMMAND --help' explains a command and gives examples.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: its exit code. The one place where errors become lines."""
    try:
        code: Any = cli.main(args=arguments, prog_name="convnd", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as mistake:
        mistake.show()
        return mistake.exit_code
    except (Stopped, click.Abort, KeyboardInterrupt) as stop:
        return _fail(str(stop) or "stopped", 1)
    except BrokenPipeError:
        # The reader of our output went away (convnd ... | head): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ArgumentError as error:
        return _fail(str(error), 2)
    except ConvndError as error:
        return _fail(str(error), 1)
    except MemoryError as error:
        return _fail(f"not enough memory; a smaller --positions takes less. {error}".rstrip(), 1)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return _fail(f"{name}{error.strerror or error}", 1)


def _fail(text: str, code: int) -> int:
    click.echo(f"convnd: {' '.join(text.split())}", err=True)
    return code
