"""`python -m studio` is the command `studio`."""

from studio.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
