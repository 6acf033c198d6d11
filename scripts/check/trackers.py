"""Compares what trackers have of a run with its metrics.csv, number by number: TensorBoard reads the run's event files; Weights & Biases and trackio are
given the run by the programs of docs/tracking.md. What is not installed is skipped.

    pip install tensorboard wandb trackio pyyaml
    npx gradprompt tune --config CONFIG --track csv,tensorboard --out RUN
    python scripts/check/trackers.py RUN
"""

import csv
import importlib.util
import os
import re
import struct
import subprocess
import sys
import tempfile

run = os.path.abspath(sys.argv[1])
root = os.path.join(os.path.dirname(__file__), "..", "..")
wanted = {}
with open(os.path.join(run, "metrics.csv"), encoding="utf-8") as file:
    for row in csv.DictReader(file):
        wanted.setdefault(row["name"], {})[int(row["step"])] = float(row["value"])
with open(os.path.join(root, "docs", "tracking.md"), encoding="utf-8") as file:
    programs = re.findall(r"```python\n(.*?)```", file.read(), re.S)


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def of_tensorboard():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(os.path.join(run, "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: {event.step: event.value for event in read.Scalars(tag)} for tag in read.Tags()["scalars"]}


def given(name, folder):
    (program,) = [text for text in programs if f", {name}" in text.split("\n")[0]]
    environment = {**os.environ, "WANDB_DIR": folder, "WANDB_SILENT": "true", "TRACKIO_DIR": folder}
    done = subprocess.run([sys.executable, "-c", program, run], env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the program of docs/tracking.md for {name} failed:\n{done.stderr}")


def log_records(path):
    """Records of a log of LevelDB, behind a header of seven bytes: blocks of 32 KiB, in each parts with a checksum, a length and a type."""
    with open(path, "rb") as file:
        data = file.read()
    at, record = 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        # Whole, or the last part.
        if kind in (1, 4):
            yield record
            record = b""


def of_wandb():
    import glob
    import json

    from wandb.proto import wandb_internal_pb2

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        given("wandb", folder)
        (path,) = glob.glob(os.path.join(folder, "wandb", "offline-run-*", "*.wandb"))
        for data in log_records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") != "history":
                continue
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    found.setdefault(name, {})[items["_step"]] = value
    return found


def of_trackio():
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        given("trackio", folder)
        os.environ["TRACKIO_DIR"] = folder
        from trackio.sqlite_storage import SQLiteStorage

        for row in SQLiteStorage.get_logs("gradprompt", os.path.basename(run)):
            for name, value in row.items():
                if name not in ("step", "timestamp"):
                    found.setdefault(name, {})[row["step"]] = value
    return found


failed = 0
for name, read, as_kept in (("tensorboard", of_tensorboard, float32), ("wandb", of_wandb, float), ("trackio", of_trackio, float)):
    if importlib.util.find_spec(name) is None:
        print(f"skipped  {name}: not installed")
        continue
    found = read()
    differing = [
        metric
        for metric in {*wanted, *found}
        if found.get(metric) != {step: as_kept(value) for step, value in wanted.get(metric, {}).items()}
    ]
    failed += len(differing) > 0
    points = sum(len(series) for series in wanted.values())
    print(f"{'DIFFERS' if differing else 'equal'}  {name}: {len(wanted)} series, {points} points {' '.join(sorted(differing))}")
sys.exit(1 if failed else 0)
