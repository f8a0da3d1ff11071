"""A static web page that classifies images with one or several models: `--to web`
([ADR 43](docs/adr/0043-web.md)).

`write.py` makes the folder from the files in `page/`, the ES module and the two engines in WebAssembly of `web/`.
"""
