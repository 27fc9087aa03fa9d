"""The command line: Typer and Rich, one file a command."""
