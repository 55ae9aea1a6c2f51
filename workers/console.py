"""What every command of `holdfast` needs: options they share, complaints on standard error, exit codes."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def complain(text: str) -> None:
    """Say on standard error what is wrong."""
    sys.stderr.write(f"holdfast: {text}\n")


def run(work: Coroutine[Any, Any, int | None]) -> None:
    """Run a command's work; what it returns is the exit code."""
    code = asyncio.run(work) or 0
    if code:
        raise typer.Exit(code)
