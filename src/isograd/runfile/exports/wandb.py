"""A Weights & Biases run, offline: nothing leaves the machine until `wandb sync`."""

from __future__ import annotations

from pathlib import Path

from isograd.records.run import Run
from isograd.runfile.exports import rows

NAME = "wandb"
EXTRA = "wandb"
SUFFIX = "-wandb"
DIRECTORY = True
HELP = "directory with an offline run; `wandb sync` uploads it"


def write(run: Run, path: Path, wide: bool) -> None:
    """Write one offline run into a directory.

    Raises:
        ModuleNotFoundError: If wandb is not installed.
    """
    import wandb  # pyright: ignore[reportMissingImports]

    names = rows.columns(run)
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    with wandb.init(
        mode="offline", dir=str(path), project="isograd", config=run.meta, settings=settings
    ) as sink:
        for steps, values in rows.wide(run):
            for step, row in zip(steps.tolist(), values.tolist(), strict=True):
                sink.log(dict(zip(names, row, strict=True)), step=step)
        for finding in run.findings:
            sink.summary[f"isograd/{finding.code}"] = finding.title
        sink.summary["isograd/verdict"] = run.verdict or ""
    wandb.teardown()  # its service writes on after the run has finished; this waits for it
