"""`python -m miroir` is the command line."""

from miroir.cli.main import main

if __name__ == "__main__":
    main()
