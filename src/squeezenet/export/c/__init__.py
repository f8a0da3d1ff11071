"""Integer networks as C for microcontrollers: `--to c` ([ADR 33](docs/adr/0033-c.md)).

The folder has the engine's own C files, the plan that the engine made for the board (`engine/src/row_plan.c`) as
constant tables, an example with a test image, and what the board needs to start. If the compiler of the board is
installed, the folder is compiled once, so that its README gives the exact flash, RAM and stack.
"""
