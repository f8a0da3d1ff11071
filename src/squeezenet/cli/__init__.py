"""One module a verb; see `squeezenet.cli.main`."""
