"""Run the command line: ``python -m couchmodel``."""

from couchmodel.cli import main

if __name__ == "__main__":
    main()
