"""Writes the image of the Containerfile as an OCI archive, without a container engine. The same bytes every time.

python engine/program/container.py engine/program/build/sqz sqz.tar && podman load -i sqz.tar

With programs for several processors, the archive has an image for each, and a container engine takes its own:

python engine/program/container.py build/x86-64/sqz build/aarch64/sqz sqz.tar
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

MACHINES = {62: "amd64", 183: "arm64"}
"""Processors: number in an ELF file -> OCI's name."""
NAME = {"org.opencontainers.image.ref.name": "sqz:latest"}


def archive(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A tar file of name -> contents and mode."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return written.getvalue()


def machine_of(program: bytes) -> str:
    """The processor that a program is for. Raises `SystemExit` for another file."""
    number = int.from_bytes(program[18:20], "little")
    if program[:4] != b"\x7fELF" or number not in MACHINES:
        raise SystemExit(f"not a program for Linux on {' or '.join(MACHINES.values())}")
    return MACHINES[number]


def image(programs: list[bytes]) -> bytes:
    """The OCI archive: the programs are for different processors."""
    blobs: dict[str, tuple[bytes, int]] = {}

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data, 0o644
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    def as_json(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True).encode()

    def manifest(program: bytes) -> dict[str, Any]:
        platform = {"architecture": machine_of(program), "os": "linux"}
        layer = blob("layer.v1.tar", archive({"sqz": (program, 0o755)}))
        settings = {"Entrypoint": ["/sqz"], "User": "65534"}
        layers = {"type": "layers", "diff_ids": [layer["digest"]]}
        config = blob("config.v1+json", as_json({**platform, "config": settings, "rootfs": layers}))
        made = blob("manifest.v1+json", as_json({"schemaVersion": 2, "config": config, "layers": [layer]}))
        return {**made, "platform": platform}

    def index(entries: list[dict[str, Any]]) -> bytes:
        kind = "application/vnd.oci.image.index.v1+json"
        return as_json({"schemaVersion": 2, "mediaType": kind, "manifests": entries})

    made = [manifest(program) for program in programs]
    whole = made[0] if len(made) == 1 else blob("index.v1+json", index(made))
    layout = as_json({"imageLayoutVersion": "1.0.0"})
    names = index([{**whole, "annotations": NAME}])
    return archive({"oci-layout": (layout, 0o644), "index.json": (names, 0o644), **blobs})


def main() -> None:
    """Read programs, write their image."""
    *programs, out = map(Path, sys.argv[1:])
    out.write_bytes(image([program.read_bytes() for program in programs]))


if __name__ == "__main__":
    main()
