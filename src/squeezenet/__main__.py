"""`python -m squeezenet`."""

from squeezenet.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
