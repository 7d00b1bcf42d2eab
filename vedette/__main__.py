"""`python -m vedette` is `vedette`."""

from vedette.cli.main import entry

entry()
