"""The entry point: `mdn` and `python -m mdncli`."""

from mdncli.commands import end_at_once, handle_signals


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # The imports take a good part of a second, and are the first that a signal can meet.
    handle_signals(end_at_once)
    from mdncli.commands.app import main as run_to_the_end

    run_to_the_end()


if __name__ == "__main__":
    main()
