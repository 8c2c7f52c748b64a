"""`python -m kloister` is the same as the `kloister` command."""

from kloister.cli.main import run

if __name__ == "__main__":
    run()
