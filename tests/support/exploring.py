"""What the tests of the design space share."""

from squeezenet.explore.latency import working_memory
from squeezenet.explore.storage import open_storage
from squeezenet.explore.trial import costs
from squeezenet.models import Metaparameters

TINY = Metaparameters(base_e=16, incr_e=8, fires=2, stem="32", classes=10, in_channels=1)
QUICK = ["--data", "digits", "--set", "base_e=16", "--set", "incr_e=8", "--set", "fires=2", "--epochs", "1",
         "--max-images", "120", "--val-images", "40", "--squeeze-bytes", "3500"]  # fmt: skip


def memory(tmp_path):
    return open_storage(str(tmp_path / "trials.journal"))


def stub(trial, data, work, on_epoch=lambda row: None):
    """`measure` without training: wide networks are accurate."""
    known = costs(trial)
    top1 = min(99.0, known.parameters**0.5 / 4)
    for epoch in range(1, round(trial.recipe.epochs) + 1):
        on_epoch({"epoch": float(epoch), "top1": top1 * epoch / trial.recipe.epochs})
    size = trial.squeeze.goal(known.parameters)
    return {
        "name": trial.name, "trial": trial.to_dict(), "source": "stub", "top1": top1, "top5": top1,
        "parameters": known.parameters, "float_bytes": 4 * known.parameters, "macs": known.macs,
        "ram": working_memory(trial),
        "bytes": size, "top1_squeezed": top1 - 1, "top5_squeezed": top1, "judged": 40, "seconds": 1.0, "versions": {},
        "hardware": "none", "epochs": trial.recipe.epochs, "images_per_second": 1.0,
        "latency_ms": known.macs / 1e6, "latency_on": "stub",
    }  # fmt: skip
