"""`python -m mdncli`."""

from mdncli.commands.app import main

if __name__ == "__main__":
    main()
