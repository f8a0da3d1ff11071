"""Integer networks as projects of hls4ml: `--to hls4ml` ([ADR 38](docs/adr/0038-fpga-compilers.md))."""
