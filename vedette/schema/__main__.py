"""`python -m vedette.schema`: write the schema of the messages into its file in this package."""

from __future__ import annotations

from pathlib import Path

from vedette.schema import FILE_NAME, schema_text


def main() -> None:
    """Write the file; nothing is printed."""
    Path(__file__).with_name(FILE_NAME).write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
