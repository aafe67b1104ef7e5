"""`python -m attnc`."""

from attnc.cli import main

if __name__ == "__main__":
    main()
