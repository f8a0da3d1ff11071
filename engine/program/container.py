"""Writes the image of the Containerfile as an OCI archive, without a container engine. The same bytes every time.

python engine/program/container.py engine/program/build/sqz sqz.tar && podman load -i sqz.tar
"""

import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path
from typing import Any

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Names of processors: Python's -> OCI's."""


def archive(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A tar file of name -> contents and mode."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return written.getvalue()


def image(program: bytes, machine: str) -> bytes:
    """The OCI archive."""
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

    layer = blob("layer.v1.tar", archive({"sqz": (program, 0o755)}))
    config = blob(
        "config.v1+json",
        as_json(
            {
                "architecture": machine,
                "os": "linux",
                "config": {"Entrypoint": ["/sqz"], "User": "65534"},
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
            }
        ),
    )
    manifest = blob("manifest.v1+json", as_json({"schemaVersion": 2, "config": config, "layers": [layer]}))
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "sqz:latest"}
    index = as_json({"schemaVersion": 2, "manifests": [manifest]})
    layout = as_json({"imageLayoutVersion": "1.0.0"})
    return archive({"oci-layout": (layout, 0o644), "index.json": (index, 0o644), **blobs})


def main() -> None:
    """Read a program, write its image."""
    program, out = map(Path, sys.argv[1:])
    machine = platform.machine()
    out.write_bytes(image(program.read_bytes(), MACHINES.get(machine, machine)))


if __name__ == "__main__":
    main()
