"""Networks as streaming logic for FPGAs: `--to rtl` ([ADR 37](docs/adr/0037-rtl.md))."""
