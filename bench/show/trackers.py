"""Runs to Weights & Biases and MLflow, by their own clients; both are extras."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.results import COLUMNS
from bench.show.export import Run

_MOST = 500
"""Metrics in one request; MLflow takes 1000."""


def _missing(name: str) -> BenchError:
    return BenchError(f"export {name} needs {name}: pip install '.[{name}]'")


def to_wandb(runs: Iterable[Run], project: str, folder: Path | None, *, offline: bool) -> list[str]:
    """Write each run to the project and return what was done, a line for each.

    Args:
        runs: The runs; one that an earlier export wrote offline, unchanged, is left as it is.
        project: Name of the project; whose it is, is the client's own choice.
        folder: Where the client keeps its files, in `wandb/`; None: in the working directory.
        offline: Whether to write files only, for `wandb sync`.

    Raises:
        BenchError: wandb is not installed, or refuses.
    """
    try:
        import wandb  # noqa: PLC0415 (an extra)
    except ImportError:
        raise _missing("wandb") from None
    folder = folder or Path()
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for run in runs:
        if offline and any(folder.glob(f"wandb/offline-run-*-{run.id}")):
            done.append(f"{run.name}: {run.id} is there, unchanged")
            continue
        try:
            _to_wandb(wandb, project, folder, offline, run)
        except wandb.Error as error:
            raise BenchError(
                f"wandb: {error}; log in with `wandb login`, or write files alone with --offline"
            ) from error
        done.append(f"{run.name}: {run.id} written")
    return done


def _to_wandb(wandb: Any, project: str, folder: Path, offline: bool, run: Run) -> None:
    with wandb.init(
        project=project,
        id=run.id,
        name=run.name,
        group=run.group,
        config={**run.config, "origin": dict(run.tags)},
        tags=[run.tags["setting"], *(commit[:10] for commit in run.tags["commit"].split())],
        dir=folder,
        mode="offline" if offline else "online",
        resume=None if offline else "allow",
        settings=wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True
        ),
    ) as written:
        written.summary.update(run.metrics)
        rows = [[row[name] for name in COLUMNS] for row in run.rows]
        written.log({"cells": wandb.Table(columns=list(COLUMNS), data=rows)})


def to_mlflow(runs: Iterable[Run], experiment: str, uri: str | None) -> list[str]:
    """Write each run to the experiment and return what was done, a line for each.

    An older run of the same column is deleted, as MLflow does it: it can be restored.

    Args:
        runs: The runs; one that is there, unchanged, is left as it is.
        experiment: Its name; made if there is none.
        uri: The tracking server or database; None: as the client has it.

    Raises:
        BenchError: MLflow is not installed, or refuses the address or what is written.
    """
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 (an extra)
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
    except ImportError:
        raise _missing("mlflow") from None
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else client.create_experiment(experiment)
        return [_to_mlflow(client, place, run) for run in runs]
    except MlflowException as error:
        raise BenchError(f"MLflow: {str(error).splitlines()[0]}") from error


def _to_mlflow(client: Any, experiment: str, run: Run) -> str:
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 (an extra)

    older = client.search_runs([experiment], f"tags.`zsad.column` = '{run.column}'")
    if any(each.data.tags.get("zsad.id") == run.id for each in older):
        return f"{run.name}: {run.id} is there, unchanged"
    started = int(datetime.fromisoformat(run.started).timestamp() * 1000)
    made = client.create_run(experiment, started, {"zsad.column": run.column}, run.name).info.run_id
    params = [Param(name, str(value)) for name, value in run.config.items()]
    tags = [RunTag(name, value) for name, value in {"method": run.group, **run.tags}.items()]
    client.log_batch(made, params=params, tags=tags)
    metrics = [Metric(name, value, started, 0) for name, value in run.metrics.items()]
    for first in range(0, len(metrics), _MOST):
        client.log_batch(made, metrics=metrics[first : first + _MOST])
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(run.rows)
    client.log_text(made, text.getvalue(), "cells.csv")
    client.set_tag(made, "zsad.id", run.id)  # last: an export that was cut short is not taken for a whole one
    client.set_terminated(made)
    for each in older:
        client.delete_run(each.info.run_id)
    return f"{run.name}: {run.id} written" + (", the older one deleted" if older else "")
