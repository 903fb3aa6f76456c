"""``python -m couchmodel`` is the command line."""

from couchmodel.cli import main

if __name__ == "__main__":
    main()
