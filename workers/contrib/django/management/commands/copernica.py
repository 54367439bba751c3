"""`manage.py copernica …`: the `ingest` command with the settings of the project, and with Django set up."""

import argparse
import os
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingest.cli.main import main
from workers.contrib.django import conf

#: Options of `manage.py` itself, which it has read by then.
_OWN = ("--settings", "--pythonpath")


class Command(BaseCommand):
    """Hands everything on."""

    help = "The `ingest` command with the settings of this project: see `manage.py copernica --help`."
    requires_system_checks = ()  # a worker must not wait for what a page needs

    def run_from_argv(self, argv: list[str]) -> None:
        """Called by `manage.py`, which exits with the code of the command."""
        words, at = argv[2:], 0
        # What comes after the first word is the command's own.
        while at < len(words) and words[at].startswith("-"):
            name, equals, _ = words[at].partition("=")
            if name in _OWN:
                del words[at : at + (1 if equals else 2)]
            else:
                at += 1
        self._run(words)

    def add_arguments(self, parser: CommandParser) -> None:
        """For `call_command`, which passes a list of words."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, **options: Any) -> None:
        """Called by `call_command`; raises CommandError if the exit code is not 0."""
        try:
            self._run(options["words"])
        except SystemExit as end:
            if end.code:
                raise CommandError("The command failed.", returncode=int(end.code)) from None

    @staticmethod
    def _run(words: list[str]) -> None:
        try:
            os.environ.update(conf.environment())  # processes that it starts inherit it
        except ImproperlyConfigured as error:
            sys.stderr.write(f"manage.py copernica: {error}\n")
            raise SystemExit(2) from None
        main.main(words, prog_name="manage.py copernica")
